import { randomBytes, randomUUID } from "node:crypto";
import { copyFile } from "node:fs/promises";
import { toJson } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createAuditClient, type AuditClient } from "#libs/client/audit-client.ts";
import { type AuditedEvent, AuditedEventSchema } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { ActorKind } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { makePageToken, readPageToken } from "#libs/page-token/page-token.ts";
import { startAuditService, testSource, type AuditServiceFixture } from "./support/audit-service.ts";
import { cloneAuditDatabase } from "./support/databases.ts";
import { makeChain, makeEvent, type EventChanges, type TestEvent } from "./support/events.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { refusalOf } from "./support/reason-of.ts";
import { openSuperuser } from "./support/superuser.ts";
import { leavesOf, openTail, startTail, type Tailer } from "./support/tailer.ts";
import { createIssuer } from "./support/tokens.ts";
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

/** A tenant with a log of its own. */
const newTenant = () => `tail-${randomUUID().slice(0, 8)}`;

async function append(tenant: string, count: number, changes: EventChanges = {}, through = source) {
  const events = Array.from({ length: count }, () => makeEvent({ tenantId: tenant, ...changes }));
  await deliver(events, through);
  return events;
}

async function deliver(events: readonly TestEvent[], through = source): Promise<void> {
  const { outcomes } = await through.recordEvents({ events: events.map(({ bytes }) => bytes) });
  expect(outcomes.map(({ reason }) => reason)).toEqual(events.map(() => ""));
}

const has = (count: number) => (messages: Tailer["messages"]) => leavesOf({ messages }).length >= count;
const range = (from: number, before: number) =>
  Array.from({ length: before - from }, (_, index) => from + index);

test("a tail begins with a token, and gives what is appended from then on, in the order of the log, as a listing does", async () => {
  const tenant = newTenant();
  await append(tenant, 3);
  const auditor = await audit.auditor(tenant);
  await using tail = await openTail(auditor);
  expect(tail.messages).toHaveLength(1);
  expect(tail.messages[0]!.event).toBeUndefined();
  await append(tenant, 2);
  await append(tenant, 2);
  await tail.until(has(4));
  const { events } = await auditor.listEvents({});
  const told = (event: AuditedEvent) => toJson(AuditedEventSchema, event);
  expect(tail.messages.slice(1).map(({ event }) => told(event!))).toEqual(events.slice(3).map(told));
});

test("a tail of a log that is not there yet begins with its first event", async () => {
  const tenant = newTenant();
  await using tail = await openTail(await audit.auditor(tenant));
  await append(tenant, 1);
  await tail.until(has(1));
  expect(leavesOf(tail)).toEqual([0]);
});

test("cut again and again while four writers append, a tail gives each event once, in the order of the log", async () => {
  const tenant = newTenant();
  const [writers, batches, batchSize] = [4, 15, 8];
  const total = writers * batches * batchSize;
  const auditor = await audit.auditor(tenant);
  const seen: number[] = [];
  let tail = await openTail(auditor);
  const write = async () => {
    const own = await audit.source();
    for (let batch = 0; batch < batches; batch++) {
      await deliver(makeChain(batchSize, { tenantId: tenant }), own);
    }
  };
  const writing = Promise.all(Array.from({ length: writers }, write));
  for (let cut = 1; cut <= 6; cut++) {
    await tail.until(has(Math.floor((total * cut) / 8) - seen.length));
    await tail.cut();
    seen.push(...leavesOf(tail));
    tail = startTail(auditor, { resumeToken: tail.resumeToken });
  }
  await writing;
  await append(tenant, 1); // Whatever came twice would come before it.
  await tail.until((messages) => leavesOf({ messages }).includes(total));
  await tail.cut();
  expect([...seen, ...leavesOf(tail)]).toEqual(range(0, total + 1));
});

test("a tail gives what fits its filter, and from its token on too", async () => {
  const tenant = newTenant();
  const auditor = await audit.auditor(tenant);
  const filter = { actorId: "grace", recordedBefore: { seconds: 1_800_000_000n } };
  await using tail = await openTail(auditor, { filter });
  const grace = { actor: { id: "grace", kind: ActorKind.PERSON, roles: [] } };
  for (let round = 0; round < 3; round++) {
    await append(tenant, 2);
    await append(tenant, 1, grace);
    await append(tenant, 1, { ...grace, recordedAt: { seconds: 1_800_000_000n } });
  }
  await tail.until(has(2));
  const resumeToken = tail.messages[1]!.resumeToken;
  await using resumed = startTail(auditor, { filter, resumeToken });
  await Promise.all([tail.until(has(3)), resumed.until(has(2))]);
  expect(leavesOf(tail)).toEqual([2, 6, 10]);
  expect(leavesOf(resumed)).toEqual([6, 10]);
});

/** The place in a token: identity of the database, events passed, digest of the last. */
function placeIn(tenant: string, token: string, filter = "{}"): string[] {
  return readPageToken(["tail", tenant, filter], token)!.split("/");
}

test("while nothing fits its filter, a tail's token moves on all the same", async () => {
  const limits = { tokenEveryMs: 100, pollMs: 20 };
  await using own = await startAuditService({ issuer: audit.issuer, limits });
  const tenant = newTenant();
  const filter = { subject: "nobody" };
  await using tail = await openTail(await own.auditor(tenant), { filter });
  await append(tenant, 3, {}, await own.source());
  const passed = (token: string) => placeIn(tenant, token, `{"subject":"nobody"}`)[1];
  await tail.until((messages) => passed(messages.at(-1)!.resumeToken) === "3");
  expect(tail.messages.every(({ event }) => event === undefined)).toBe(true);
  const { resumeToken } = tail;
  await append(tenant, 1, filter, await own.source());
  await using resumed = startTail(await own.auditor(tenant), { filter, resumeToken });
  await resumed.until(has(1));
  expect(leavesOf(resumed)).toEqual([3]);
});

test("an append in the process wakes a tail, and one in another is found by its poll", async () => {
  const { issuer, database } = audit;
  await using own = await startAuditService({ issuer, database, limits: { pollMs: 600_000 } });
  const tenant = newTenant();
  await using woken = await openTail(await own.auditor(tenant));
  await using polling = await openTail(await audit.auditor(tenant));
  await append(tenant, 1, {}, await own.source());
  await woken.until(has(1));
  await polling.until(has(1));
});

test("an event that is committed in the middle of a look is not passed over", async () => {
  const tenant = newTenant();
  await append(tenant, 1);
  await using tail = await openTail(await audit.auditor(tenant));
  const { superuserUrl, name } = audit.database;
  await using committing = await openSuperuser(superuserUrl);
  await using observer = await openSuperuser(superuserUrl);
  await committing.query("BEGIN");
  await committing.query("LOCK TABLE logs IN ACCESS EXCLUSIVE MODE");
  await waitUntil(async () => {
    const waiting = `SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock' AND query LIKE '%FROM logs%'`;
    return (await observer.query(waiting, [name])).rowCount! > 0;
  });
  await committing.query(
    `INSERT INTO events SELECT tenant_id, 1, gen_random_uuid(), source, type, 'another', 1, actor_id, on_behalf_of, request_id,
                               correlation_id, occurred_at, recorded_at, received_at, digest, bytes FROM events WHERE tenant_id = $1`,
    [tenant],
  );
  await committing.query("UPDATE logs SET size = 2 WHERE tenant_id = $1", [tenant]);
  await committing.query("COMMIT");
  await append(tenant, 1);
  await tail.until((messages) => leavesOf({ messages }).includes(2));
  expect(leavesOf(tail)).toEqual([1, 2]);
});

test("a token is its own tenant's and filter's, and garbage is no token", async () => {
  const [tenant, other] = [newTenant(), newTenant()];
  await append(tenant, 1);
  await append(other, 1);
  const auditor = await audit.auditor(tenant);
  const { resumeToken } = await openAndCut(auditor);
  const [identity = "", , digest = ""] = placeIn(tenant, resumeToken);
  const forge = (place: string) => makePageToken(["tail", tenant, "{}"], place);
  const { nextPageToken } = await auditor.listEvents({ pageSize: 1 });
  const invalid = "InvalidArgument PAGE_TOKEN_INVALID";
  const refusals: [AuditClient, Parameters<typeof startTail>[1]][] = [
    [await audit.auditor(other), { resumeToken }],
    [auditor, { resumeToken, filter: { actorId: "ada" } }],
    ...[
      ...["x", "AAAA", `${resumeToken.slice(0, -2)}AA`, nextPageToken || "x", forge("")],
      ...[forge(`${identity}/-1/${digest}`), forge(`${identity}/${"9".repeat(30)}/${digest}`)],
      ...[forge(`${identity}/1/'; --`), forge(`${identity}/5/`), forge(`${identity}/0/${digest}`)],
    ].map((token): [AuditClient, Parameters<typeof startTail>[1]] => [auditor, { resumeToken: token }]),
  ];
  for (const [client, request] of refusals) {
    await using refused = startTail(client, request);
    expect(await refused.ended, request?.resumeToken).toBe(invalid);
    expect(refused.messages).toEqual([]);
  }
});

async function openAndCut(client: AuditClient): Promise<{ readonly resumeToken: string }> {
  await using tail = await openTail(client);
  return { resumeToken: tail.resumeToken };
}

const expired = "OutOfRange RESUME_TOKEN_EXPIRED";

test("a token of another database or timeline, of an event to come, or of another event at its place has expired", async () => {
  const tenant = newTenant();
  await append(tenant, 2);
  const auditor = await audit.auditor(tenant);
  const { resumeToken } = await openAndCut(auditor);
  const [identity = "", passed = "", digest = ""] = placeIn(tenant, resumeToken);
  const forged = [
    [identity.replace(/^\d+/, "1"), passed, digest],
    [identity.replace(/\.\d+\./, ".1."), passed, digest],
    [identity.replace(/1$/, "2"), passed, digest],
    [identity, "3", digest],
    [identity, "1", digest],
    [identity, passed, "0".repeat(64)],
  ].map((place) => makePageToken(["tail", tenant, "{}"], place.join("/")));
  for (const token of forged) {
    await using refused = startTail(auditor, { resumeToken: token });
    expect(await refused.ended, token).toBe(expired);
    expect(refused.messages).toEqual([]);
  }
});

test("after a restore that put the log back before a token, the token has expired, though the log has grown past it", async () => {
  const { issuer } = audit;
  await using live = await cloneAuditDatabase();
  const tenant = newTenant();
  {
    await using before = await startAuditService({ issuer, database: live });
    await append(tenant, 2, {}, await before.source());
  }
  await using backup = await cloneAuditDatabase(live.name);
  const token = await (async () => {
    await using later = await startAuditService({ issuer, database: live });
    await append(tenant, 1, {}, await later.source());
    return (await openAndCut(await later.auditor(tenant))).resumeToken;
  })();
  await using restored = await startAuditService({ issuer, database: backup });
  await append(tenant, 5, {}, await restored.source());
  expect(await startTail(await restored.auditor(tenant), { resumeToken: token }).ended).toBe(expired);
});

test("a log that is put back under a tail's feet ends it, and its token, even in the same database", async () => {
  const tenant = newTenant();
  await append(tenant, 3);
  const auditor = await audit.auditor(tenant);
  await using tail = await openTail(auditor);
  await append(tenant, 1);
  await tail.until(has(1));
  await using superuser = await openSuperuser(audit.database.superuserUrl);
  await superuser.query("BEGIN");
  await superuser.query("DELETE FROM events WHERE tenant_id = $1 AND leaf_index >= 2", [tenant]);
  await superuser.query("UPDATE logs SET size = 2, tree_size = 0, tree_edge = '' WHERE tenant_id = $1", [
    tenant,
  ]);
  await superuser.query("COMMIT");
  expect(await tail.ended).toBe(expired);
  await append(tenant, 4);
  await using resumed = startTail(auditor, { resumeToken: tail.resumeToken });
  expect(await resumed.ended).toBe(expired);
  expect(resumed.messages).toEqual([]);
});

test("when the token of its caller expires a tail ends, and gives nothing after", async () => {
  let nowMs = Date.now();
  const { issuer, database } = audit;
  await using own = await startAuditService({ issuer, database, now: () => new Date(nowMs) });
  const tenant = newTenant();
  await using tail = await openTail(await own.auditor(tenant));
  nowMs += 3_600_000;
  await append(tenant, 1, {}, await own.source());
  expect(await tail.ended).toBe("Unauthenticated UNAUTHENTICATED");
  expect(leavesOf(tail)).toEqual([]);
});

test("when the key of its caller's token is withdrawn a tail ends", async () => {
  await using issuer = await createIssuer();
  await using other = await createIssuer();
  await using own = await startAuditService({ issuer, database: audit.database });
  await using tail = await openTail(await own.auditor(newTenant()));
  await copyFile(other.jwks, issuer.jwks);
  expect(await tail.ended).toBe("Unauthenticated UNAUTHENTICATED");
});

test("tails are bounded, of a tenant and in all; the next may come when one has gone", async () => {
  const limits = { streamsMax: 3, streamsPerTenantMax: 2 };
  await using own = await startAuditService({ issuer: audit.issuer, limits });
  const [auditor, second, third] = [await own.auditor("a"), await own.auditor("b"), await own.auditor("c")];
  await using open = new AsyncDisposableStack();
  const first = open.use(await openTail(auditor));
  open.use(await openTail(auditor));
  const limited = "ResourceExhausted RATE_LIMITED";
  expect(await startTail(auditor).ended).toBe(limited);
  open.use(await openTail(second));
  expect(await startTail(third).ended).toBe(limited);
  await first.cut();
  let outcome = limited;
  while (outcome === limited) {
    const again = open.use(startTail(third));
    outcome = await Promise.race([again.ended, again.until(({ length }) => length > 0).then(() => "open")]);
  }
  expect(outcome).toBe("open");
});

test("tails that wait hold no connection of the pool", async () => {
  await using own = await startAuditService({ issuer: audit.issuer, config: { poolMax: 1 } });
  const auditor = await own.auditor();
  await using open = new AsyncDisposableStack();
  const tails = [];
  for (let count = 0; count < 8; count++) tails.push(open.use(await openTail(auditor)));
  expect(await refusalOf(auditor.listEvents({}))).toBe("accepted");
  await deliver([makeEvent()], await own.source());
  await Promise.all(tails.map((tail) => tail.until(has(1))));
});

test("a stopping service ends its tails at once, and the token goes on elsewhere", async () => {
  const { issuer, database } = audit;
  const tenant = newTenant();
  const stopping = await startAuditService({ issuer, database, config: { drainMs: 600_000 } });
  const token = await issuer.token({ tenant, sub: "auditor", roles: ["auditor"] });
  await using client = createAuditClient({ url: stopping.url, token });
  await using tail = await openTail(client);
  await stopping[Symbol.asyncDispose]();
  expect(await tail.ended).toBe("Unavailable OVERLOADED");
  await append(tenant, 1);
  await using resumed = startTail(await audit.auditor(tenant), { resumeToken: tail.resumeToken });
  await resumed.until(has(1));
});

test("to a caller who does not read no more than a few events go out, and who reads late gets them all", async () => {
  const tenant = newTenant();
  const auditor = await audit.auditor(tenant);
  const open = (signal: AbortSignal) =>
    auditor.tailEvents({}, { signal, timeoutMs: 60_000 })[Symbol.asyncIterator]();
  const [never, late] = [new AbortController(), new AbortController()];
  const [unread, reading] = [open(never.signal), open(late.signal)];
  await Promise.all([unread.next(), reading.next()]);
  const total = 60;
  for (let sent = 0; sent < total; sent += 20) {
    const large = () => randomBytes(40_000).toString("base64"); // Nothing that compresses.
    await deliver(Array.from({ length: 20 }, () => makeEvent({ tenantId: tenant, toState: large() })));
  }
  for (let leaf = 0; leaf < total; leaf++) {
    expect((await reading.next()).value.event.leafIndex).toBe(BigInt(leaf));
  }
  // The one that was never read had as much time.
  never.abort();
  late.abort();
  await Promise.all([refusalOf(unread.next()), refusalOf(reading.next())]);
  const ends = async () => (await auditor.listAccesses({})).accesses.filter(({ begunBy }) => begunBy !== "");
  await waitUntil(async () => (await ends()).length === 2);
  const [least, most] = (await ends()).map(({ givenCount }) => Number(givenCount)).toSorted((a, b) => a - b);
  expect(most).toBe(total);
  expect(least).toBeLessThan(total / 2);
});

test("who may not list events may not tail them", async () => {
  const relay = await audit.withToken({ sub: "relay", roles: ["event_source"], sources: [testSource] });
  expect(await startTail(relay).ended).toBe("PermissionDenied FORBIDDEN");
});
