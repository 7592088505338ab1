import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { AuditClient } from "#libs/client/audit-client.ts";
import { DeliveryOutcome, type EventOutcome } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { openSession } from "#libs/pg/session.ts";
import { startAuditService, testSource, type AuditServiceFixture } from "./support/audit-service.ts";
import {
  makeChain,
  makeEvent,
  withUnknownField,
  type EventChanges,
  type TestEvent,
} from "./support/events.ts";
import { refusalOf } from "./support/reason-of.ts";
import { rowDigests } from "./support/row-digests.ts";

const { APPLIED, DUPLICATE, OUT_OF_ORDER, REJECTED } = DeliveryOutcome;

let audit: AuditServiceFixture;
let source: AuditClient;
beforeAll(async () => {
  audit = await startAuditService();
  source = await audit.source();
});
afterAll(() => audit[Symbol.asyncDispose]());

async function deliver(events: readonly TestEvent[], through = source): Promise<EventOutcome[]> {
  const { outcomes } = await through.recordEvents({ events: events.map(({ bytes }) => bytes) });
  expect(outcomes.map(({ eventId }) => eventId)).toEqual(events.map(({ eventId }) => eventId));
  return outcomes;
}

test("the bytes that come back are the bytes that were sent, with fields that nobody here knows", async () => {
  const sent = withUnknownField(makeEvent());
  const [outcome] = await deliver([sent]);
  const { event } = await (await audit.auditor()).getEvent({ eventId: sent.eventId });
  expect(event).toMatchObject({
    eventBytes: new Uint8Array(sent.bytes),
    digest: new Uint8Array(sent.digest),
    leafIndex: outcome?.leafIndex,
    event: { eventId: sent.eventId, subject: sent.subject, source: testSource },
  });
  expect(event?.sealedAt).toBeUndefined();
});

test("received_at is the service's own time, between sending and the answer", async () => {
  const sent = makeEvent();
  const before = Date.now();
  await deliver([sent]);
  const after = Date.now();
  const { event } = await (await audit.auditor()).getEvent({ eventId: sent.eventId });
  const { seconds, nanos } = event!.receivedAt!;
  const receivedAt = Number(seconds) * 1_000 + nanos / 1_000_000;
  expect(receivedAt).toBeGreaterThanOrEqual(before);
  expect(receivedAt).toBeLessThanOrEqual(after);
});

test("a batch that comes again is known by its ids and gets the leaf indexes it has", async () => {
  const chain = makeChain(3);
  const first = await deliver(chain);
  const before = await rowDigests(audit.database.superuserUrl);
  const second = await deliver(chain);
  expect(first.map(({ outcome }) => outcome)).toEqual([APPLIED, APPLIED, APPLIED]);
  expect(second).toEqual(first.map((outcome) => ({ ...outcome, outcome: DUPLICATE })));
  expect(await rowDigests(audit.database.superuserUrl)).toEqual(before);
});

test("an event before its predecessor is told what the subject waits for, and leaves no trace", async () => {
  const tenantId = `waiting-${randomUUID().slice(0, 8)}`;
  const [first, second, third] = makeChain(3, { tenantId }) as [TestEvent, TestEvent, TestEvent];
  const before = await rowDigests(audit.database.superuserUrl);
  const [unknown] = await deliver([third]);
  expect(unknown).toMatchObject({ outcome: OUT_OF_ORDER, nextSequence: 1n });
  expect(unknown?.leafIndex).toBeUndefined();
  expect(await rowDigests(audit.database.superuserUrl)).toEqual(before);
  await deliver([first]);
  expect(await deliver([third])).toMatchObject([{ outcome: OUT_OF_ORDER, nextSequence: 2n }]);
  expect(await deliver([second, third])).toMatchObject([{ outcome: APPLIED }, { outcome: APPLIED }]);
});

test("events sent twice, shuffled, overlapping and by four senders at once are each stored once, in order", async () => {
  const tenantId = `crowd-${randomUUID().slice(0, 8)}`;
  const chains = Array.from({ length: 8 }, () => makeChain(25, { tenantId }));
  const all = chains.flat();
  const senders = await Promise.all(Array.from({ length: 4 }, () => audit.source()));
  const applied = new Map<string, bigint[]>();
  const known = new Map<string, Set<bigint>>();

  await Promise.all(
    senders.map(async (sender, index) => {
      const random = randomFrom(index + 1);
      for (let round = 0; round < 100; round++) {
        const missing = all.filter(({ eventId }) => !known.get(eventId)?.size);
        if (missing.length === 0) break;
        // The next ones of each subject, some of them twice, and some that are there already.
        const batch = shuffle([...missing.slice(0, 60), ...pick(all, 20, random)], random);
        for (const { eventId, outcome, leafIndex, reason } of await deliver(batch, sender)) {
          expect([APPLIED, DUPLICATE, OUT_OF_ORDER], reason).toContain(outcome);
          if (leafIndex === undefined) continue;
          if (outcome === APPLIED) applied.set(eventId, [...(applied.get(eventId) ?? []), leafIndex]);
          known.set(eventId, (known.get(eventId) ?? new Set()).add(leafIndex));
        }
      }
    }),
  );

  const stored = await readAll(await audit.auditor(tenantId));
  expect(stored.map(({ leafIndex }) => leafIndex)).toEqual(all.map((_, index) => BigInt(index)));
  expect(new Set(stored.map(({ event }) => event?.eventId)).size).toBe(all.length);
  for (const { event, leafIndex } of stored) {
    expect(applied.get(event!.eventId), "applied to one sender, once").toEqual([leafIndex]);
    expect([...known.get(event!.eventId)!], "told the same by all").toEqual([leafIndex]);
  }
  for (const chain of chains) {
    const subject = chain[0]!.subject;
    const sequences = stored.filter(({ event }) => event?.subject === subject);
    expect(sequences.map(({ event }) => event?.subjectSequence)).toEqual(
      chain.map(({ sequence }) => sequence),
    );
  }
});

test("of many who send a new tenant's first event at once, one applies it", async () => {
  const tenantId = `new-${randomUUID().slice(0, 8)}`;
  const event = makeEvent({ tenantId });
  const answers = await Promise.all(Array.from({ length: 20 }, () => deliver([event])));
  const outcomes = answers.flat();
  expect(outcomes.filter(({ outcome }) => outcome === APPLIED)).toHaveLength(1);
  expect(outcomes.filter(({ outcome }) => outcome === DUPLICATE)).toHaveLength(19);
  expect(new Set(outcomes.map(({ leafIndex }) => leafIndex))).toEqual(new Set([0n]));
});

interface Refusal {
  readonly reason: string;
  readonly of: (chain: readonly TestEvent[]) => EventChanges;
}

const third = ([, second]: readonly TestEvent[]) => ({
  subject: second!.subject,
  subjectSequence: 3n,
  previousDigest: second!.digest,
});

test.each<[string, Refusal]>([
  ["that breaks the schema", { reason: "INVALID_EVENT", of: (chain) => ({ ...third(chain), type: "" }) }],
  [
    "of a source that the token does not name",
    { reason: "SOURCE_NOT_ALLOWED", of: (chain) => ({ ...third(chain), source: `${testSource}/more` }) },
  ],
  [
    "under the id of another",
    { reason: "EVENT_ID_REUSED", of: (chain) => ({ ...third(chain), eventId: chain[0]!.eventId }) },
  ],
  [
    "at a taken sequence",
    { reason: "SEQUENCE_REUSED", of: (chain) => ({ ...third(chain), subjectSequence: 2n }) },
  ],
  [
    "that names another predecessor",
    { reason: "CHAIN_BROKEN", of: (chain) => ({ ...third(chain), previousDigest: chain[0]!.digest }) },
  ],
  [
    "that begins a subject with a predecessor",
    { reason: "CHAIN_BROKEN", of: (chain) => ({ previousDigest: chain[0]!.digest }) },
  ],
])("an event %s is rejected for good, and the others of its batch are stored", async (_, { reason, of }) => {
  const chain = makeChain(2);
  await deliver(chain);
  const bad = makeEvent(of(chain));
  const [good, other] = [makeEvent(), makeEvent()];

  const outcomes = await deliver([good, bad, other]);

  expect(outcomes).toMatchObject([
    { outcome: APPLIED },
    { outcome: REJECTED, reason, nextSequence: 0n },
    { outcome: APPLIED },
  ]);
  expect(outcomes[1]?.leafIndex).toBeUndefined();
  const auditor = await audit.auditor();
  const { events } = await auditor.listEvents({ filter: { subject: chain[0]!.subject } });
  expect(events.map(({ event }) => event?.eventId)).toEqual(chain.map(({ eventId }) => eventId));
});

test("bytes that are no event are rejected without an id", async () => {
  const { outcomes } = await source.recordEvents({ events: [Buffer.from([0xff, 0xff])] });
  expect(outcomes).toMatchObject([{ eventId: "", outcome: REJECTED, reason: "INVALID_EVENT" }]);
});

test("a batch of two tenants is refused whole", async () => {
  const before = await rowDigests(audit.database.superuserUrl);
  const batch = [makeEvent(), makeEvent({ tenantId: "other" })];
  expect(await refusalOf(deliver(batch))).toBe("InvalidArgument INVALID_REQUEST");
  expect(await rowDigests(audit.database.superuserUrl)).toEqual(before);
});

test("the same ids and subjects are independent from tenant to tenant", async () => {
  const event = makeEvent();
  const twin = makeEvent({ eventId: event.eventId, subject: event.subject, tenantId: "twin" });
  expect(await deliver([event])).toMatchObject([{ outcome: APPLIED }]);
  expect(await deliver([twin])).toMatchObject([{ outcome: APPLIED }]);
});

test.each([
  ["no event", [], "InvalidArgument INVALID_REQUEST"],
  ["501 events", Array.from({ length: 501 }, () => Buffer.from([1])), "InvalidArgument INVALID_REQUEST"],
  ["an event of no bytes", [Buffer.alloc(0)], "InvalidArgument INVALID_REQUEST"],
  ["an event above 60 KiB", [Buffer.alloc(61_441)], "InvalidArgument INVALID_REQUEST"],
  ["more than 4 MiB", Array.from({ length: 70 }, () => Buffer.alloc(61_440)), "ResourceExhausted TOO_LARGE"],
])("a batch of %s is refused", async (_, events, refusal) => {
  expect(await refusalOf(source.recordEvents({ events }))).toBe(refusal);
});

test("a caller's deadline ends the wait in the database too", async () => {
  await deliver([makeEvent()]);
  await using session = await openSession({
    url: audit.database.superuserUrl,
    applicationName: "test",
    connectTimeoutMs: 5_000,
    onError: () => {}, // Its query fails with it.
  });
  await session.query("BEGIN");
  await session.query("SELECT FROM logs FOR UPDATE");
  const waiting = async () => {
    const text = "SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'";
    return (await session.query(text, [audit.database.name])).rowCount;
  };

  const timeoutMs = 3_000; // Enough for a busy machine to come as far as the lock.
  const refused = refusalOf(source.recordEvents({ events: [makeEvent().bytes] }, { timeoutMs }));
  await expect.poll(waiting, { timeout: timeoutMs, interval: 10 }).toBe(1);

  // The client gives the service a little less time than it takes itself: either may say so first.
  expect(await refused).toMatch(/^(DeadlineExceeded|Unavailable OVERLOADED)/);
  // The service's own limit would come after ten seconds.
  await expect.poll(waiting, { timeout: 5_000, interval: 10 }).toBe(0);
});

test("an event of 60 KiB is stored", async () => {
  const empty = makeEvent({ toState: "" });
  const largest = makeEvent({ toState: "x".repeat(61_440 - empty.bytes.length - 4) }); // Tag and length take four bytes.
  expect(largest.bytes).toHaveLength(61_440);
  expect(await deliver([largest])).toMatchObject([{ outcome: APPLIED }]);
});

async function readAll(auditor: AuditClient) {
  const events = [];
  let pageToken = "";
  do {
    const page = await auditor.listEvents({ pageSize: 70, pageToken });
    events.push(...page.events);
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return events;
}

/** Numbers from 0 up to 1, the same for the same seed (a linear congruential generator). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function shuffle<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map((item) => ({ item, rank: random() }))
    .toSorted((a, b) => a.rank - b.rank)
    .map(({ item }) => item);
}

function pick<T>(items: readonly T[], count: number, random: () => number): T[] {
  return Array.from({ length: count }, () => items[Math.floor(random() * items.length)]!);
}
