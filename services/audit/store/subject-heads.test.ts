import { afterAll, beforeAll, expect, test } from "vitest";
import { openSession } from "#libs/pg/session.ts";
import { cloneAuditDatabase } from "#test/support/databases.ts";
import { listSubjectHeads } from "./subject-heads.ts";

const stack = new AsyncDisposableStack();
let app: Awaited<ReturnType<typeof openSession>>;

beforeAll(async () => {
  const database = stack.use(await cloneAuditDatabase());
  const open = async (url: string) =>
    stack.use(
      await openSession({ url, applicationName: "test", connectTimeoutMs: 5_000, onError: () => {} }),
    );
  app = await open(database.appUrl);
  const superuser = await open(database.superuserUrl);
  await superuser.query(`
    INSERT INTO subject_heads (tenant_id, source, subject, last_sequence, last_digest)
    SELECT tenant, 'source-' || i % 3, gen_random_uuid()::text, 1, sha256(convert_to(i::text, 'UTF8'))
      FROM unnest(ARRAY['acme', 'other']) AS tenant, generate_series(1, 20000) AS i`);
  await superuser.query("ANALYZE subject_heads");
});
afterAll(() => stack.disposeAsync());

const middle = { source: "source-1", subject: "8" };

test.each([
  ["the first page", listSubjectHeads("acme", "", { source: "", subject: "" }, 51)],
  ["a page from the middle", listSubjectHeads("acme", "", middle, 51)],
  ["a source's first page", listSubjectHeads("acme", "source-1", { source: "source-1", subject: "" }, 51)],
  ["a source's page from the middle", listSubjectHeads("acme", "source-1", middle, 51)],
])("the application's role reads %s of heads along the key, and no row besides", async (_, query) => {
  await app.query("BEGIN; SET LOCAL app.tenant_id = 'acme'");
  await app.query("SET LOCAL plan_cache_mode = force_custom_plan");
  const { rows } = await app.query(`EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) ${query.text}`, [
    ...query.values,
  ]);
  await app.query("ROLLBACK");

  const plan = rows.map((row: { "QUERY PLAN": string }) => row["QUERY PLAN"]).join("\n");
  expect(plan).toMatch(
    /Index Scan using subject_heads_pkey on subject_heads \(actual rows=51(\.00)? loops=1\)/,
  );
  expect(plan).not.toMatch(/Sort|Seq Scan|Removed by Filter/);
});
