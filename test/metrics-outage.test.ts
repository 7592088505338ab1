import { afterAll, beforeAll, expect, test } from "vitest";
import { startProcessPair, type ProcessPair } from "./support/process-pair.ts";
import { scrape } from "./support/scrape.ts";
import { makeSigning } from "./support/signing.ts";
import { openSuperuserSession } from "#services/local/databases.ts";
import { openSuperuser } from "./support/superuser.ts";

const waits = { timeout: 40_000 };
const backlog = ["outbox_pending", "outbox_oldest_pending_age_seconds", "dead_letters"];
const ofLogs = ["audit_log_size", "audit_checkpoint_age_seconds"];

/** Which of these there are; asking fails after a limit of its own. */
const present = async (metricsUrl: string, names: readonly string[]) => {
  const { types, samples } = await scrape(metricsUrl);
  expect(types.get("build_info")).toBe("gauge");
  expect(types.get("db_pool_in_use")).toBe("gauge");
  return names.filter((name) => samples.some((sample) => sample.name === name));
};

const stack = new AsyncDisposableStack();
let pair: ProcessPair;

beforeAll(async () => {
  const signing = stack.use(await makeSigning());
  pair = stack.use(await startProcessPair({}, { signing }));
});
afterAll(() => stack.disposeAsync());

test("while the databases are away, what they would have to tell is absent, and the rest says that nobody is ready", async () => {
  const ofCases = () => present(pair.cases.metricsUrl, backlog);
  const ofAudit = () => present(pair.audit.metricsUrl, ofLogs);
  const ready = () =>
    Promise.all(
      [pair.cases, pair.audit].map(async ({ metricsUrl }) => (await scrape(metricsUrl)).sum("service_ready")),
    );
  await expect.poll(ofCases, waits).toEqual(backlog);
  await expect.poll(ofAudit, waits).toEqual(ofLogs);
  await expect.poll(ready, waits).toEqual([1, 1]);

  const names = [pair.caseDatabase.name, pair.auditDatabase.name];
  await using session = await openSuperuserSession(
    pair.caseDatabase.superuserUrl.replace(pair.caseDatabase.name, "postgres"),
  );
  for (const name of names) await session.query(`ALTER DATABASE ${name} WITH ALLOW_CONNECTIONS false`);
  await session.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY($1)", [
    names,
  ]);
  await expect.poll(ofCases, waits).toEqual([]);
  await expect.poll(ofAudit, waits).toEqual([]);
  await expect.poll(ready, waits).toEqual([0, 0]);

  for (const name of names) await session.query(`ALTER DATABASE ${name} WITH ALLOW_CONNECTIONS true`);
  await expect.poll(ofCases, waits).toEqual(backlog);
  await expect.poll(ofAudit, waits).toEqual(ofLogs);
  await expect.poll(ready, waits).toEqual([1, 1]);
}, 120_000);

test("a database that does not answer leaves its gauges out and holds up nobody, however many ask", async () => {
  const ofCases = () => present(pair.cases.metricsUrl, backlog);
  await expect.poll(ofCases, waits).toEqual(backlog);

  await using superuser = await openSuperuser(pair.caseDatabase.superuserUrl);
  await superuser.query("BEGIN");
  await superuser.query("LOCK TABLE dead_letters IN ACCESS EXCLUSIVE MODE");
  await expect.poll(ofCases, waits).toEqual([]);
  expect((await Promise.all(Array.from({ length: 20 }, ofCases))).flat()).toEqual([]);
  await superuser.query("ROLLBACK");
  await expect.poll(ofCases, waits).toEqual(backlog);
}, 120_000);
