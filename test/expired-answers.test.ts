import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openPool } from "#libs/pg/pool.ts";
import { keptLog } from "./support/kept-output.ts";
import { startRemoval } from "#services/case/relay/remove-answers.ts";
import { openCase, startCaseService, tenant, type CaseServiceFixture } from "./support/case-service.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { refusalOf } from "./support/reason-of.ts";
import { openSuperuser } from "./support/superuser.ts";
import { waitUntil } from "./support/wait-until.ts";

expectNoLeaks();

const stack = new AsyncDisposableStack();
const log = keptLog("removal-test");
let cases: CaseServiceFixture;
let superuser: Awaited<ReturnType<typeof openSuperuser>>;

beforeAll(async () => {
  cases = stack.use(await startCaseService({ config: { relay: "off" } }));
  superuser = stack.use(await openSuperuser(cases.database.superuserUrl));
});
afterAll(() => stack.disposeAsync());

async function countAnswers(): Promise<number> {
  const { rows } = await superuser.query<{ count: number }>("SELECT count(*)::integer FROM recorded_answers");
  return rows[0]!.count;
}

/** Many more answers like those there are, of this tenant and of another, that expired an hour ago. */
async function addExpired(count: number): Promise<void> {
  await superuser.query(
    `INSERT INTO recorded_answers
     SELECT tenant_id, principal_id || n, gen_random_uuid(), request_hash, answer, case_id, version, now() - interval '1 hour'
       FROM (SELECT DISTINCT ON (tenant_id) * FROM recorded_answers) one, generate_series(1, $1) n`,
    [count],
  );
}

function removal(now = () => new Date()): AsyncDisposable {
  const opened = new AsyncDisposableStack();
  const { relayUrl: url } = cases.database;
  const pool = opened.use(
    openPool({ url, max: 1, applicationName: "removal", connectTimeoutMs: 5_000, onError: () => {} }),
  );
  opened.use(startRemoval({ pool, now, log }));
  return opened;
}

test("two removers together remove every expired answer of every tenant, and no other", async () => {
  await openCase(cases, "submitted");
  await openCase(cases, "submitted", "other");
  const live = await countAnswers();
  await addExpired(800);
  expect(await countAnswers()).toBe(live + 1_600);
  await using _one = removal();
  await using _two = removal();
  await waitUntil(async () => (await countAnswers()) <= live);
  expect(await countAnswers()).toBe(live);
});

test("a removed answer's request is refused as applied, and has no second effect", async () => {
  const caseworker = await cases.as("caseworker");
  const request = { requestId: randomUUID(), caseId: await openCase(cases) };
  await caseworker.submitCase(request);
  await superuser.query(
    "UPDATE recorded_answers SET expires_at = now() - interval '1 s' WHERE request_id = $1",
    [request.requestId],
  );
  await using _remover = removal();
  await waitUntil(async () => {
    const { rows } = await superuser.query("SELECT FROM recorded_answers WHERE request_id = $1", [
      request.requestId,
    ]);
    return rows.length === 0;
  });
  expect(await refusalOf(caseworker.submitCase(request))).toBe("AlreadyExists REQUEST_ALREADY_APPLIED");
  const found = await caseworker.getCase({ caseId: request.caseId });
  expect(found.case!.version).toBe(2);
});

test("a remover whose clock is a month ahead removes nothing that the database holds for live", async () => {
  const live = await countAnswers();
  await addExpired(1);
  await using _remover = removal(() => new Date(Date.now() + 30 * 86_400_000));
  await waitUntil(async () => (await countAnswers()) <= live);
  expect(await countAnswers()).toBe(live);
});

test("the service removes expired answers by itself", async () => {
  const live = await countAnswers();
  await addExpired(10);
  await using _other = await startCaseService({ database: cases.database, issuer: cases.issuer });
  await waitUntil(async () => (await countAnswers()) === live);
});

test.each(["case_app", "case_relay"])("by hand-written SQL %s removes no live answer", async (role) => {
  const live = await countAnswers();
  for (const text of [
    "DELETE FROM recorded_answers",
    "DELETE FROM recorded_answers WHERE expires_at > now()",
    "TRUNCATE recorded_answers",
  ]) {
    await superuser.query("BEGIN");
    await superuser.query(`SET LOCAL ROLE ${role}; SET LOCAL app.tenant_id = '${tenant}'`);
    const removed = await superuser.query(text).then(
      ({ rowCount }) => rowCount ?? 0,
      () => 0,
    );
    await superuser.query("ROLLBACK");
    expect(removed, text).toBe(0);
  }
  expect(await countAnswers()).toBe(live);
});

test("the relay's role reads no content out of an answer, nor that a live one is there", async () => {
  await superuser.query("BEGIN");
  await superuser.query("SET LOCAL ROLE case_relay");
  expect((await superuser.query("SELECT request_id FROM recorded_answers")).rows).toEqual([]);
  await expect(superuser.query("SELECT answer FROM recorded_answers")).rejects.toThrow("permission denied");
  await superuser.query("ROLLBACK");
});
