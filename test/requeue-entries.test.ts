import { createHash, randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CaseAdminClient } from "#libs/client/case-admin-client.ts";
import { laneOf } from "#services/case/domain/lane.ts";
import { saveRequeue } from "#services/case/store/requeue.ts";
import {
  content,
  openCase,
  setPolicy,
  startCaseService,
  type CaseServiceFixture,
} from "./support/case-service.ts";
import { refusalOf } from "./support/reason-of.ts";
import { openSuperuser } from "./support/superuser.ts";
import { listAllEvents, startPair } from "./support/pair.ts";
import { untilDelivered } from "./support/until-delivered.ts";

let cases: CaseServiceFixture;
let admin: CaseAdminClient;
let superuser: Awaited<ReturnType<typeof openSuperuser>>;
const stack = new AsyncDisposableStack();

beforeAll(async () => {
  cases = stack.use(await startCaseService({ config: { relay: "off" } }));
  admin = await cases.admin();
  superuser = stack.use(await openSuperuser(cases.database.superuserUrl));
});
afterAll(() => stack.disposeAsync());

/** Ids of a new case's events, oldest first, as delivered: their outbox rows are gone. */
async function deliveredCase(tenant = "acme"): Promise<readonly string[]> {
  const caseId = await openCase(cases, "assigned", tenant);
  const { rows } = await superuser.query<{ event_id: string }>(
    "SELECT event_id FROM audit_entries WHERE case_id = $1 ORDER BY version",
    [caseId],
  );
  await superuser.query("DELETE FROM outbox WHERE case_id = $1", [caseId]);
  return rows.map((row) => row.event_id);
}

async function waiting(eventIds: readonly string[]): Promise<readonly string[]> {
  const { rows } = await superuser.query<{ event_id: string }>(
    "SELECT event_id FROM outbox WHERE event_id = ANY ($1) ORDER BY event_id",
    [eventIds],
  );
  return rows.map((row) => row.event_id);
}

async function kill(eventId: string): Promise<void> {
  await superuser.query(
    `INSERT INTO dead_letters (tenant_id, event_id, case_id, version, reason, detail, dead_at)
     SELECT tenant_id, event_id, case_id, version, 'REASON', '', now() FROM audit_entries WHERE event_id = $1`,
    [eventId],
  );
}

async function requeue(eventIds: readonly string[], requestId = randomUUID()) {
  const replays: (string | null)[] = [];
  const onHeader = (headers: Headers) => void replays.push(headers.get("caseflow-replayed"));
  const { requeuedEventIds } = await admin.requeueEntries(
    { requestId, eventIds: [...eventIds] },
    { onHeader },
  );
  return { requeuedEventIds, replayed: replays[0] === "true" };
}

test("entries that are named wait again, each once, in capitals too; others, and ids of nothing, do not", async () => {
  const [first, second, third] = await deliveredCase();
  const asked = [third!, first!.toUpperCase(), first!, randomUUID()];
  const { requeuedEventIds } = await requeue(asked);
  expect(requeuedEventIds).toEqual([third, first]);
  expect(await waiting([first!, second!, third!])).toEqual([first, third]);
  // What waits already is not queued twice, and still told.
  expect((await requeue([first!, second!])).requeuedEventIds).toEqual([first, second]);
  expect(await waiting([first!, second!, third!])).toEqual([first, second, third]);
});

test("a request sent again gives the first answer and queues nothing anew; another body under its id is refused", async () => {
  const eventIds = await deliveredCase();
  const requestId = randomUUID();
  const first = await requeue(eventIds, requestId);
  await superuser.query("DELETE FROM outbox WHERE event_id = ANY ($1)", [eventIds]);
  expect(await requeue(eventIds, requestId)).toEqual({ ...first, replayed: true });
  expect(await waiting(eventIds)).toEqual([]);
  expect(await refusalOf(requeue(eventIds.slice(1), requestId))).toBe("InvalidArgument REQUEST_ID_REUSED");
  await superuser.query("UPDATE recorded_answers SET expires_at = now() WHERE request_id = $1", [requestId]);
  expect(await refusalOf(requeue(eventIds, requestId))).toBe("AlreadyExists REQUEST_ALREADY_APPLIED");
  expect(await waiting(eventIds)).toEqual([]);
});

test("a request id serves one request, whether it made an entry or queued some", async () => {
  const eventIds = await deliveredCase();
  const [forEntries, forPolicy] = [randomUUID(), randomUUID()];
  const policy = { approvalsRequired: 1, appealWindowDays: 1 };
  const setIt = (requestId: string) =>
    admin.setCasePolicy({ requestId, caseType: "permit", policy, reason: "one is enough" });
  await requeue(eventIds, forEntries);
  expect(await refusalOf(setIt(forEntries))).toBe("InvalidArgument REQUEST_ID_REUSED");
  await setIt(forPolicy);
  expect(await refusalOf(requeue(eventIds, forPolicy))).toBe("InvalidArgument REQUEST_ID_REUSED");
  // Another principal's is another one.
  const caseworker = await cases.as("caseworker");
  const created = { requestId: forEntries, caseType: "permit", content };
  expect(await refusalOf(caseworker.createCase(created))).toBe("accepted");
});

test("of twenty requests at once, ten of them the same, each takes effect once and each event waits once", async () => {
  const eventIds = await deliveredCase();
  const requestId = randomUUID();
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, index) => requeue(eventIds, index % 2 === 0 ? requestId : randomUUID())),
  );
  expect(answers.filter(({ replayed }) => replayed)).toHaveLength(9);
  for (const { requeuedEventIds } of answers) expect(requeuedEventIds).toEqual(eventIds);
  expect(await waiting(eventIds)).toEqual(eventIds);
});

test("a dead letter is not queued, and the others of its case are", async () => {
  const [first, second, third] = await deliveredCase();
  await kill(second!);
  expect((await requeue([first!, second!, third!])).requeuedEventIds).toEqual([first, third]);
  expect(await waiting([first!, second!, third!])).toEqual([first, third]);
});

test("what became a dead letter after it was looked at is not queued by the commit", async () => {
  const eventIds = await deliveredCase();
  await kill(eventIds[0]!);
  const lane = laneOf(createHash("sha256").update("acme").digest());
  const request = { principalId: "operator", requestId: randomUUID(), requestHash: Buffer.alloc(32) };
  const answered = { ...request, answer: Buffer.alloc(0), answerExpiresAt: new Date() };
  const { text, values } = saveRequeue({ tenantId: "acme", eventIds, lane, ...answered });
  await superuser.query(text, [...values]);
  expect(await waiting(eventIds)).toEqual(eventIds.slice(1));
});

test("an event that becomes a dead letter while it is asked for is not queued beside it", async () => {
  const eventIds = await deliveredCase();
  await requeue(eventIds);
  await using relay = await openSuperuser(cases.database.superuserUrl);
  await relay.query("BEGIN");
  await relay.query("DELETE FROM outbox WHERE event_id = $1", [eventIds[0]]);
  await relay.query(
    `INSERT INTO dead_letters (tenant_id, event_id, case_id, version, reason, detail, dead_at)
     SELECT tenant_id, event_id, case_id, version, 'REASON', '', now() FROM audit_entries WHERE event_id = $1`,
    [eventIds[0]],
  );
  await requeue(eventIds);
  await relay.query("COMMIT");
  expect(await waiting(eventIds)).toEqual(eventIds.slice(1));
});

test("entries of another tenant are passed over as if they did not exist", async () => {
  const others = await deliveredCase("neighbour");
  expect(await requeue(others)).toEqual({ requeuedEventIds: [], replayed: false });
  expect(await waiting(others)).toEqual([]);
});

test("a policy's entries and a delivered case's are delivered again as duplicates, and nothing is left waiting", async () => {
  await using pair = await startPair();
  await openCase(pair.cases, "submitted");
  await setPolicy(pair.cases, "permit");
  await using client = await openSuperuser(pair.cases.database.superuserUrl);
  await untilDelivered(pair.cases.database);
  const before = await listAllEvents(pair.audit.url, pair.cases.issuer);
  const eventIds = before.map(({ event }) => event!.eventId);
  const operator = await pair.cases.admin();
  const { requeuedEventIds } = await operator.requeueEntries({ requestId: randomUUID(), eventIds });
  expect(requeuedEventIds).toEqual(eventIds);
  await untilDelivered(pair.cases.database);
  expect(await listAllEvents(pair.audit.url, pair.cases.issuer)).toEqual(before);
  expect((await client.query("SELECT FROM dead_letters")).rowCount).toBe(0);
});
