import { randomUUID } from "node:crypto";
import { create, toBinary, type MessageInitShape } from "@bufbuild/protobuf";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { AuditClient } from "#libs/client/audit-client.ts";
import {
  ListEventsResponseSchema,
  type EventFilterSchema,
} from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { ActorKind } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { startAuditService, testSource, type AuditServiceFixture } from "./support/audit-service.ts";
import { makeEvent, withUnknownField, type EventChanges, type TestEvent } from "./support/events.ts";
import { refusalOf } from "./support/reason-of.ts";

type Filter = MessageInitShape<typeof EventFilterSchema>;

const otherSource = "test/other";
const requests = [randomUUID(), randomUUID()];
const secondOf = (index: number) => 1_700_000_000n + BigInt(index * 10);

let audit: AuditServiceFixture;
let source: AuditClient;
let auditor: AuditClient;
/** What was stored, by leaf index. */
let stored: { readonly event: TestEvent; readonly says: ReturnType<typeof factsOf> }[];

/** Every field that a filter looks at, each with a period of its own, so that conditions cut across each other. */
function factsOf(index: number) {
  return {
    source: index % 5 === 0 ? otherSource : testSource,
    type: `test.thing.${["made", "changed", "closed"][index % 3]}`,
    subject: `subject-${index}`,
    actorId: `actor-${index % 4}`,
    onBehalfOf: index % 7 === 0 ? "grace" : "",
    requestId: index % 6 === 0 ? requests[index % 2]! : "",
    correlationId: index % 4 === 0 ? "undertaking" : "",
    second: secondOf(index % 11),
    recorded: secondOf(20 + (index % 13)),
  };
}

beforeAll(async () => {
  audit = await startAuditService();
  source = await audit.source([testSource, otherSource]);
  auditor = await audit.auditor();
  stored = Array.from({ length: 120 }, (_, index) => {
    const says = factsOf(index);
    return { event: makeEvent(toChanges(says)), says };
  });
  await deliver(stored.map(({ event }) => event));
  await deliver([makeEvent({ tenantId: "neighbour", subject: "subject-1" })]);
});
afterAll(() => audit[Symbol.asyncDispose]());

function toChanges({
  actorId,
  onBehalfOf,
  second,
  recorded,
  ...rest
}: ReturnType<typeof factsOf>): EventChanges {
  return {
    ...rest,
    actor: { id: actorId, kind: ActorKind.PERSON, roles: [], onBehalfOf },
    occurredAt: { seconds: second, nanos: 500_000_000 },
    recordedAt: { seconds: recorded, nanos: 500_000_000 },
  };
}

async function deliver(events: readonly TestEvent[]): Promise<void> {
  const { outcomes } = await source.recordEvents({ events: events.map(({ bytes }) => bytes) });
  expect(outcomes.map(({ reason }) => reason)).toEqual(events.map(() => ""));
}

/** The ids of all events that fit, by pages of `pageSize`; every page but the last must be full. */
async function walk(filter: Filter, pageSize: number, through = auditor): Promise<string[]> {
  const ids: string[] = [];
  let pageToken = "";
  for (let pages = 0; pages < 200; pages++) {
    const page = await through.listEvents({ filter, pageSize, pageToken });
    ids.push(...page.events.map(({ event }) => event!.eventId));
    pageToken = page.nextPageToken;
    if (pageToken === "") return ids;
    expect(page.events).toHaveLength(pageSize);
  }
  throw new Error("the pages do not end");
}

type Says = ReturnType<typeof factsOf>;

test.each<[string, Filter, (says: Says) => boolean]>([
  ["none", {}, () => true],
  ["source", { source: otherSource }, ({ source: of }) => of === otherSource],
  ["type", { type: "test.thing.closed" }, ({ type }) => type === "test.thing.closed"],
  ["subject", { subject: "subject-17" }, ({ subject }) => subject === "subject-17"],
  ["actor_id", { actorId: "actor-3" }, ({ actorId }) => actorId === "actor-3"],
  ["on_behalf_of", { onBehalfOf: "grace" }, ({ onBehalfOf }) => onBehalfOf === "grace"],
  ["request_id", { requestId: requests[0]!.toUpperCase() }, ({ requestId }) => requestId === requests[0]],
  [
    "correlation_id",
    { correlationId: "undertaking" },
    ({ correlationId }) => correlationId === "undertaking",
  ],
  ["occurred_from", { occurredFrom: { seconds: secondOf(5) } }, ({ second }) => second >= secondOf(5)],
  ["occurred_before", { occurredBefore: { seconds: secondOf(5) } }, ({ second }) => second < secondOf(5)],
  [
    "occurred_from that is an event's own time",
    { occurredFrom: { seconds: secondOf(5), nanos: 500_000_000 } },
    ({ second }) => second >= secondOf(5),
  ],
  [
    "occurred_before that is an event's own time",
    { occurredBefore: { seconds: secondOf(5), nanos: 500_000_000 } },
    ({ second }) => second < secondOf(5),
  ],
  [
    "recorded_from that is an event's own time",
    { recordedFrom: { seconds: secondOf(25), nanos: 500_000_000 } },
    ({ recorded }) => recorded >= secondOf(25),
  ],
  [
    "recorded_before that is an event's own time",
    { recordedBefore: { seconds: secondOf(25), nanos: 500_000_000 } },
    ({ recorded }) => recorded < secondOf(25),
  ],
  [
    "a range of both times, and a type",
    {
      recordedFrom: { seconds: secondOf(22) },
      recordedBefore: { seconds: secondOf(30) },
      occurredFrom: { seconds: secondOf(2) },
      type: "test.thing.made",
    },
    ({ recorded, second, type }) =>
      recorded >= secondOf(22) &&
      recorded < secondOf(30) &&
      second >= secondOf(2) &&
      type === "test.thing.made",
  ],
  ["a subject that has no events", { subject: "subject" }, () => false],
  [
    "type and actor_id",
    { type: "test.thing.made", actorId: "actor-1" },
    ({ type, actorId }) => type === "test.thing.made" && actorId === "actor-1",
  ],
  [
    "all of them",
    {
      source: otherSource,
      type: "test.thing.made",
      subject: "subject-0",
      actorId: "actor-0",
      onBehalfOf: "grace",
      requestId: requests[0]!,
      correlationId: "undertaking",
      occurredFrom: { seconds: secondOf(0) },
      occurredBefore: { seconds: secondOf(1) },
    },
    ({ subject }) => subject === "subject-0",
  ],
])(
  "filtered by %s, the pages give what fits, once each, in the order of the log",
  async (_, filter, fits) => {
    const expected = stored.filter(({ says }) => fits(says)).map(({ event }) => event.eventId);
    expect(await walk(filter, 7)).toEqual(expected);
    expect(await walk(filter, 500)).toEqual(expected);
  },
);

test("what was received from one time on and before another is given, without what bears the second", async () => {
  const tenant = `received-${randomUUID().slice(0, 8)}`;
  const reader = await audit.auditor(tenant);
  for (let batch = 0; batch < 4; batch++) {
    await deliver(Array.from({ length: 2 }, () => makeEvent({ tenantId: tenant })));
  }
  const { events } = await reader.listEvents({});
  const [from, before] = [events[2]!.receivedAt!, events[6]!.receivedAt!];
  const ids = events.map(({ event }) => event!.eventId);
  expect(await walk({ receivedFrom: from, receivedBefore: before }, 3, reader)).toEqual(ids.slice(2, 6));
  expect(await walk({ receivedFrom: before }, 3, reader)).toEqual(ids.slice(6));
  expect(await walk({ receivedBefore: from }, 3, reader)).toEqual(ids.slice(0, 2));
});

test("a page has 50 events when no size is asked for", async () => {
  const { events, nextPageToken } = await auditor.listEvents({});
  expect(events).toHaveLength(50);
  expect(nextPageToken).not.toBe("");
});

test("events that come while somebody pages are found on later pages, and none is given twice", async () => {
  const tenant = `paging-${randomUUID().slice(0, 8)}`;
  const reader = await audit.auditor(tenant);
  const early = Array.from({ length: 3 }, () => makeEvent({ tenantId: tenant }));
  const late = makeEvent({ tenantId: tenant });
  await deliver(early);
  const first = await reader.listEvents({ pageSize: 2 });
  await deliver([late]);
  const second = await reader.listEvents({ pageSize: 2, pageToken: first.nextPageToken });
  const ids = [...first.events, ...second.events].map(({ event }) => event!.eventId);
  expect(ids).toEqual([...early, late].map(({ eventId }) => eventId));
  expect(second.nextPageToken).toBe("");
});

test("a page token serves its own query, with any page size, and no other query or tenant", async () => {
  const filter = { type: "test.thing.made" };
  const { nextPageToken: pageToken } = await auditor.listEvents({ filter, pageSize: 5 });
  const neighbour = await audit.auditor("neighbour");
  const invalid = "InvalidArgument PAGE_TOKEN_INVALID";

  expect(await refusalOf(auditor.listEvents({ filter, pageToken, pageSize: 9 }))).toBe("accepted");
  expect(await refusalOf(auditor.listEvents({ pageToken }))).toBe(invalid);
  expect(await refusalOf(auditor.listEvents({ filter: { subject: filter.type }, pageToken }))).toBe(invalid);
  expect(await refusalOf(auditor.listEvents({ filter: { ...filter, actorId: "ada" }, pageToken }))).toBe(
    invalid,
  );
  expect(await refusalOf(neighbour.listEvents({ filter, pageToken }))).toBe(invalid);
  expect(await refusalOf(auditor.listEvents({ filter, pageToken: `${pageToken}A` }))).toBe(invalid);
  expect(await refusalOf(auditor.listEvents({ filter, pageToken: "AAAA" }))).toBe(invalid);
});

test("a page ends before its answer passes 4 MiB, and the next one goes on there", async () => {
  const tenant = `large-${randomUUID().slice(0, 8)}`;
  const large = Array.from({ length: 50 }, () =>
    makeEvent({ tenantId: tenant, toState: "x".repeat(60_000) }),
  );
  await deliver(large.slice(0, 25));
  await deliver(large.slice(25));
  const reader = await audit.auditor(tenant);

  const first = await reader.listEvents({ pageSize: 500 });
  const second = await reader.listEvents({ pageSize: 500, pageToken: first.nextPageToken });

  for (const page of [first, second]) {
    const size = toBinary(ListEventsResponseSchema, create(ListEventsResponseSchema, page)).length;
    expect(size).toBeLessThanOrEqual(4 * 1024 * 1024);
  }
  expect(first.events.length, "as many as fit").toBe(34);
  const ids = [...first.events, ...second.events].map(({ event }) => event!.eventId);
  expect(ids).toEqual(large.map(({ eventId }) => eventId));
  expect(second.nextPageToken).toBe("");
});

test.each<[string, Filter]>([
  ["a NUL", { subject: "a\0b" }],
  ["a time that is none", { occurredFrom: { nanos: -1 } }],
  ["a time of receipt before 1970", { receivedBefore: { seconds: -1n } }],
  ["a request id that is no UUID", { requestId: "1" }],
  ["a subject of 257 characters", { subject: "x".repeat(257) }],
])("a filter with %s is refused", async (_, filter) => {
  expect(await refusalOf(auditor.listEvents({ filter }))).toBe("InvalidArgument INVALID_REQUEST");
});

test("a page of 501 is refused", async () => {
  expect(await refusalOf(auditor.listEvents({ pageSize: 501 }))).toBe("InvalidArgument INVALID_REQUEST");
});

test("an event is found by its id, in capitals too, and by its own tenant alone", async () => {
  const { eventId } = stored[3]!.event;
  const found = await auditor.getEvent({ eventId: eventId.toUpperCase() });
  expect(found.event).toMatchObject({ leafIndex: 3n, event: { eventId } });
  const neighbour = await audit.auditor("neighbour");
  expect(await refusalOf(neighbour.getEvent({ eventId }))).toBe("NotFound EVENT_NOT_FOUND");
  expect(await refusalOf(auditor.getEvent({ eventId: randomUUID() }))).toBe("NotFound EVENT_NOT_FOUND");
  expect(await refusalOf(auditor.getEvent({ eventId: "1" }))).toBe("InvalidArgument INVALID_REQUEST");
});

test("bytes that somebody changed in the database are never given out", async () => {
  const tenant = `tampered-${randomUUID().slice(0, 8)}`;
  const event = makeEvent({ tenantId: tenant });
  await deliver([event]);
  const superuser = new pg.Client({ connectionString: audit.database.superuserUrl });
  await superuser.connect();
  await superuser.query("ALTER TABLE events DROP CONSTRAINT events_digest_holds");
  const { bytes } = withUnknownField(event); // Still an event, and it says the same.
  await superuser.query("UPDATE events SET bytes = $2 WHERE tenant_id = $1", [tenant, bytes]);
  await superuser.end();
  const reader = await audit.auditor(tenant);

  expect(await refusalOf(reader.getEvent({ eventId: event.eventId }))).toBe("Internal (no reason)");
  expect(await refusalOf(reader.listEvents({}))).toBe("Internal (no reason)");
});
