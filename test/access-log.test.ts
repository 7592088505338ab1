import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createAuditClient, type AuditClient } from "#libs/client/audit-client.ts";
import { AccessMethod, type Access } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { ActorKind } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { makePageToken } from "#libs/page-token/page-token.ts";
import { auditTenant, startAuditService, type AuditServiceFixture } from "./support/audit-service.ts";
import { storeCheckpoint } from "./support/checkpoints.ts";
import { makeEvent, type TestEvent } from "./support/events.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { refusalOf } from "./support/reason-of.ts";
import { startServiceProcess } from "./support/service-process.ts";
import { openSuperuser } from "./support/superuser.ts";
import { leavesOf, openTail, startTail } from "./support/tailer.ts";
import { waitUntil } from "./support/wait-until.ts";

expectNoLeaks();

const stack = new AsyncDisposableStack();
let audit: AuditServiceFixture;
let source: AuditClient;

beforeAll(async () => {
  audit = stack.use(await startAuditService());
  source = await audit.source();
});
afterAll(() => stack.disposeAsync());

/** A tenant of its own with events in its log. */
async function newTenant(count: number): Promise<{ readonly tenant: string; readonly events: TestEvent[] }> {
  const tenant = `access-${randomUUID().slice(0, 8)}`;
  const events = Array.from({ length: count }, () => makeEvent({ tenantId: tenant }));
  if (count > 0) await source.recordEvents({ events: events.map(({ bytes }) => bytes) });
  return { tenant, events };
}

/** The tenant's accesses, newest first, as somebody else's reads have left them. */
async function accessesOf(tenant: string): Promise<readonly Access[]> {
  const looking = await audit.withToken({ tenant, sub: "looking", roles: ["auditor"] });
  const { accesses } = await looking.listAccesses({ pageSize: 200 });
  return accesses.filter(({ principal }) => principal?.id !== "looking");
}

test("a read tells who, for whom, with what roles, by what method, what was asked for, and what was given", async () => {
  const { tenant, events } = await newTenant(5);
  const reader = await audit.withToken({
    tenant,
    sub: "archive",
    kind: "service",
    onBehalfOf: "grace",
    roles: ["operator", "auditor"],
  });
  const startedMs = Date.now();
  const { nextPageToken: pageToken } = await reader.listEvents({ pageSize: 2 });
  await reader.listEvents({ pageSize: 2, pageToken });
  await reader.getEvent({ eventId: events[3]!.eventId.toUpperCase() });
  await reader.listEvents({
    filter: { type: "none of it", actorId: "ada", recordedFrom: { seconds: 1n, nanos: 5_000 } },
  });
  const accesses = await accessesOf(tenant);
  const { eventId } = events[3]!;
  expect(
    accesses.map(({ method, filter, outcome, givenCount, firstLeafIndex, lastLeafIndex }) => ({
      ...{ method, filter, outcome, givenCount, firstLeafIndex, lastLeafIndex },
    })),
  ).toEqual([
    {
      ...{ method: AccessMethod.LIST_EVENTS, outcome: "OK", givenCount: 0n },
      filter: `{"actorId":"ada","recordedFrom":"1970-01-01T00:00:01.000005Z","type":"none of it"}`,
    },
    {
      ...{ method: AccessMethod.GET_EVENT, filter: `{"eventId":"${eventId}"}`, outcome: "OK" },
      ...{ givenCount: 1n, firstLeafIndex: 3n, lastLeafIndex: 3n },
    },
    {
      ...{ method: AccessMethod.LIST_EVENTS, filter: "{}", outcome: "OK" },
      ...{ givenCount: 2n, firstLeafIndex: 2n, lastLeafIndex: 3n },
    },
    {
      ...{ method: AccessMethod.LIST_EVENTS, filter: "{}", outcome: "OK" },
      ...{ givenCount: 2n, firstLeafIndex: 0n, lastLeafIndex: 1n },
    },
  ]);
  for (const { principal, at, begunBy } of accesses) {
    expect(principal).toMatchObject({
      ...{ id: "archive", kind: ActorKind.SERVICE, onBehalfOf: "grace" },
      roles: ["auditor", "operator"],
    });
    expect(Number(at!.seconds) * 1_000 + 999).toBeGreaterThanOrEqual(startedMs);
    expect(begunBy).toBe("");
  }
});

test("who looked for an event that is not there is in the log; who was refused before anything was read is not", async () => {
  const { tenant } = await newTenant(1);
  const auditor = await audit.auditor(tenant);
  const eventId = randomUUID();
  expect(await refusalOf(auditor.getEvent({ eventId }))).toBe("NotFound EVENT_NOT_FOUND");
  await refusalOf(auditor.getEvent({ eventId: "1" }));
  await refusalOf(auditor.listEvents({ pageToken: "AAAA" }));
  await refusalOf(auditor.listEvents({ pageSize: 501 }));
  const caseworker = await audit.withToken({ tenant, sub: "c", roles: ["caseworker"] });
  expect(await refusalOf(caseworker.listEvents({}))).toBe("PermissionDenied FORBIDDEN");
  expect(await accessesOf(tenant)).toMatchObject([
    {
      filter: `{"eventId":"${eventId}"}`,
      outcome: "EVENT_NOT_FOUND",
      givenCount: 0n,
      principal: { id: "auditor" },
    },
  ]);
});

test("where the access cannot be written, nothing is given", async () => {
  await using own = await startAuditService({ issuer: audit.issuer });
  await using superuser = await openSuperuser(own.database.superuserUrl);
  const event = makeEvent();
  await (await own.source()).recordEvents({ events: [event.bytes] });
  await storeCheckpoint(own.database.superuserUrl, auditTenant, 1);
  await superuser.query("REVOKE INSERT ON access_log FROM audit_app");
  const auditor = await own.auditor();
  const calls = [
    auditor.getEvent({ eventId: event.eventId }),
    auditor.getEvent({ eventId: randomUUID() }),
    auditor.listEvents({}),
    auditor.listAccesses({}),
    drain(auditor.tailEvents({})),
    drain(auditor.exportEvents({})),
  ];
  expect(await Promise.all(calls.map(refusalOf))).toEqual(calls.map(() => "Internal (no reason)"));
  await superuser.query("GRANT INSERT ON access_log TO audit_app");
  expect(await refusalOf(auditor.getEvent({ eventId: event.eventId }))).toBe("accepted");
});

async function drain(messages: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of messages);
}

/** The rows of the tenant's streams, in the order in which they were written. */
async function streamRowsOf(tenant: string): Promise<readonly Access[]> {
  const accesses = await accessesOf(tenant);
  return accesses.filter(({ method }) => method === AccessMethod.TAIL_EVENTS).toReversed();
}

test("a stream is in the log before its first message, and at its end with what was given, and why it ended", async () => {
  const { tenant } = await newTenant(2);
  const auditor = await audit.auditor(tenant);
  await using tail = await openTail(auditor, { filter: { actorId: "ada" } });
  const begun = await streamRowsOf(tenant);
  expect(begun).toMatchObject([
    {
      outcome: "BEGUN",
      givenCount: 0n,
      begunBy: "",
      filter: `{"actorId":"ada"}`,
      principal: { id: "auditor" },
    },
  ]);
  const more = Array.from({ length: 3 }, () => makeEvent({ tenantId: tenant }));
  await source.recordEvents({ events: more.map(({ bytes }) => bytes) });
  await tail.until((messages) => leavesOf({ messages }).length === 3);
  expect(await streamRowsOf(tenant)).toEqual(begun);
  await tail.cut();
  await waitUntil(async () => (await streamRowsOf(tenant)).length > 1);
  const end = {
    ...{ outcome: "CANCELED", givenCount: 3n, firstLeafIndex: 2n, lastLeafIndex: 4n },
    ...{ begunBy: begun[0]!.accessId, filter: `{"actorId":"ada"}` },
  };
  expect((await streamRowsOf(tenant)).slice(1)).toMatchObject([end]);
});

test("a stream that was refused, or that ends with its token, is in the log with the reason; one too many is not", async () => {
  let nowMs = Date.now();
  await using own = await startAuditService({
    ...{ issuer: audit.issuer, database: audit.database },
    ...{ now: () => new Date(nowMs), limits: { streamsMax: 1, pollMs: 20 } },
  });
  const { tenant } = await newTenant(1);
  const auditor = await own.auditor(tenant);
  expect(await startTail(auditor, { resumeToken: "x" }).ended).toBe("InvalidArgument PAGE_TOKEN_INVALID");
  await using tail = await openTail(auditor);
  expect(await startTail(auditor).ended).toBe("ResourceExhausted RATE_LIMITED");
  nowMs += 3_600_000;
  await tail.ended;
  await waitUntil(async () => (await streamRowsOf(tenant)).length > 1);
  const rows = await streamRowsOf(tenant);
  expect(rows.map(({ outcome }) => outcome)).toEqual(["BEGUN", "UNAUTHENTICATED"]);
});

test("of a stream whose process was killed the beginning stays, and no end", async () => {
  const { tenant } = await newTenant(1);
  await using own = await startServiceProcess("services/audit/main.ts", {
    ...{ AUDIT_PORT: "0", AUDIT_METRICS_PORT: "0", AUDIT_DATABASE_URL: audit.database.appUrl },
    ...{ CASEFLOW_JWKS: audit.issuer.jwks, CASEFLOW_JWT_ISSUER: audit.issuer.issuer },
    CASEFLOW_JWT_AUDIENCE: audit.issuer.audience,
  });
  const token = await audit.issuer.token({ tenant, sub: "auditor", roles: ["auditor"] });
  await using auditor = createAuditClient({ url: own.url, token });
  await using tail = await openTail(auditor);
  await source.recordEvents({ events: [makeEvent({ tenantId: tenant }).bytes] });
  await tail.until((messages) => leavesOf({ messages }).length === 1);
  await own.end("SIGKILL");
  await tail.ended;
  expect((await streamRowsOf(tenant)).map(({ outcome }) => outcome)).toEqual(["BEGUN"]);
});

test("accesses are listed newest first, each once, and a look into the log is in it from the next look on", async () => {
  const { tenant } = await newTenant(1);
  const auditor = await audit.auditor(tenant);
  const counts: number[] = [];
  for (let reads = 0; reads < 5; reads++) {
    await auditor.listEvents({ filter: { subject: `${reads}` } });
    const { accesses } = await auditor.listAccesses({});
    counts.push(accesses.length);
  }
  expect(counts).toEqual([1, 3, 5, 7, 9]);

  const walked: Access[] = [];
  let pageToken = "";
  do {
    const page = await auditor.listAccesses({ pageSize: 3, pageToken });
    walked.push(...page.accesses);
    pageToken = page.nextPageToken;
    if (pageToken !== "") expect(page.accesses).toHaveLength(3);
  } while (pageToken !== "");
  expect(walked.map(({ method, filter }) => (method === AccessMethod.LIST_ACCESSES ? "" : filter))).toEqual(
    [4, 3, 2, 1, 0].flatMap((read) => ["", `{"subject":"${read}"}`]),
  );
  expect(new Set(walked.map(({ accessId }) => accessId)).size).toBe(10);
});

test("accesses are found by principal, method and time, together and alone", async () => {
  let nowMs = Date.UTC(2026, 0, 1);
  await using own = await startAuditService({ issuer: audit.issuer, now: () => new Date(nowMs) });
  const tenant = "clocked";
  const as = (sub: string) => own.withToken({ tenant, sub, roles: ["auditor"] });
  const [ada, grace] = [await as("ada"), await as("grace")];
  for (const reader of [ada, grace]) {
    for (let reads = 0; reads < 3; reads++) {
      nowMs += 1_000;
      await reader.listEvents({});
      await refusalOf(reader.getEvent({ eventId: randomUUID() }));
    }
  }
  nowMs += 1_000;
  const seconds = async (filter: Parameters<AuditClient["listAccesses"]>[0]["filter"]) => {
    const { accesses } = await (await as("looking")).listAccesses({ filter, pageSize: 200 });
    return accesses.flatMap(({ at, principal }) =>
      principal?.id === "looking" ? [] : [Number(at!.seconds) - Date.UTC(2026, 0, 1) / 1_000],
    );
  };
  const at = (second: number, nanos = 0) => ({
    seconds: BigInt(Date.UTC(2026, 0, 1) / 1_000 + second),
    nanos,
  });
  expect(await seconds({})).toEqual([6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1]);
  expect(await seconds({ principalId: "ada" })).toEqual([3, 3, 2, 2, 1, 1]);
  expect(await seconds({ principalId: "nobody" })).toEqual([]);
  expect(await seconds({ method: AccessMethod.GET_EVENT })).toEqual([6, 5, 4, 3, 2, 1]);
  expect(await seconds({ atFrom: at(2), atBefore: at(4) })).toEqual([3, 3, 2, 2]);
  expect(await seconds({ atFrom: at(2, 1), atBefore: at(4, 1) })).toEqual([4, 4, 3, 3]);
  const all = { principalId: "grace", method: AccessMethod.LIST_EVENTS, atFrom: at(3), atBefore: at(6) };
  expect(await seconds(all)).toEqual([5, 4]);
});

test("a page token of the access log serves its own query and tenant alone", async () => {
  const { tenant } = await newTenant(0);
  const auditor = await audit.auditor(tenant);
  for (let reads = 0; reads < 3; reads++) await auditor.listEvents({});
  const filter = { principalId: "auditor" };
  const { nextPageToken: pageToken } = await auditor.listAccesses({ pageSize: 1, filter });
  const invalid = "InvalidArgument PAGE_TOKEN_INVALID";
  expect(await refusalOf(auditor.listAccesses({ pageToken, filter, pageSize: 2 }))).toBe("accepted");
  expect(await refusalOf(auditor.listAccesses({ pageToken }))).toBe(invalid);
  expect(await refusalOf((await audit.auditor("another")).listAccesses({ pageToken, filter }))).toBe(invalid);
  const { nextPageToken: ofEvents } = await (await audit.auditor()).listEvents({ pageSize: 1 });
  for (const garbage of ["AAAA", ofEvents || "x", makePageToken(["accesses", tenant, "{}"], "'; --")]) {
    expect(await refusalOf(auditor.listAccesses({ pageToken: garbage }))).toBe(invalid);
  }
});

test("another tenant's accesses are nobody's to see, and only auditors see their own", async () => {
  const [one, other] = [await newTenant(1), await newTenant(1)];
  await (await audit.auditor(one.tenant)).listEvents({});
  expect(await accessesOf(other.tenant)).toEqual([]);
  expect(await accessesOf(one.tenant)).toHaveLength(1);
  const operator = await audit.withToken({ tenant: one.tenant, sub: "o", roles: ["operator", "caseworker"] });
  expect(await refusalOf(operator.listAccesses({}))).toBe("PermissionDenied FORBIDDEN");
});
