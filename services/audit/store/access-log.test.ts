import type { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cloneAuditDatabase } from "#test/support/databases.ts";
import { effortOf } from "#test/support/query-effort.ts";
import { openSuperuser } from "#test/support/superuser.ts";
import type { AccessFilter } from "../domain/access.ts";
import { type AccessRow, lastAccessId, listAccesses } from "./access-log.ts";

const stack = new AsyncDisposableStack();
let superuser: Client;

const logSize = 5_000;
const startMs = Date.UTC(2026, 0, 1);

/** The time of the access of that number, of which there is one a second. */
const second = (number: number) => new Date(startMs + number * 1_000);

beforeAll(async () => {
  const database = stack.use(await cloneAuditDatabase());
  superuser = stack.use(await openSuperuser(database.superuserUrl));
  await superuser.query(
    `INSERT INTO access_log (tenant_id, access_id, at, principal_id, principal_kind, roles, method, filter, outcome, given_count)
     SELECT tenant,
            (lpad(to_hex(extract(epoch FROM second)::bigint * 1000), 12, '0') || '70008000' || lpad(to_hex(i), 12, '0'))::uuid,
            second, 'auditor-' || i % 50, 'person', '{auditor}', CASE WHEN i % 50 = 7 THEN 'GetEvent' ELSE 'ListEvents' END, '{}', 'OK', 1
       FROM unnest(ARRAY['acme', 'other']) AS tenant, generate_series(0, ${logSize - 1}) AS i,
            LATERAL (SELECT timestamptz '2026-01-01Z' + i * interval '1 second') AS at (second)`,
  );
  await superuser.query("ANALYZE access_log");
});
afterAll(() => stack.disposeAsync());

const all = (filter: AccessFilter) => listAccesses("acme", filter, lastAccessId, 51);

test.each<[string, string, AccessFilter]>([
  ["access_log_pkey", "nothing", {}],
  ["access_log_pkey", "a range of time", { from: second(100), before: second(200) }],
  ["access_log_by_principal", "a principal", { principalId: "auditor-7" }],
  ["access_log_by_method", "a rare method", { method: "GetEvent" }],
  [
    "access_log_by_principal",
    "a principal and a range of time",
    { principalId: "auditor-8", from: second(100), before: second(2_000) },
  ],
])("the application's role reads by %s, and no more than a page, given %s", async (index, _, filter) => {
  const { text, values } = all(filter);
  await superuser.query("BEGIN; SET LOCAL ROLE audit_app; SET LOCAL app.tenant_id = 'acme'");
  const { rows } = await superuser.query(`EXPLAIN ${text}`, [...values]);
  await superuser.query("ROLLBACK");
  const plan = rows.map((row: { "QUERY PLAN": string }) => row["QUERY PLAN"]).join("\n");
  expect(plan).toContain(`using ${index} on access_log`);
  const { read } = await effortOf(superuser, "audit_app", "acme", all(filter));
  expect(read).toBeLessThan(110); // Fewer have that method or principal than would make two pages.
});

test("a range of time has its first millisecond, and not the one that it ends with", async () => {
  const { text, values } = all({ from: second(100), before: second(103) });
  const { rows } = await superuser.query<AccessRow>(text, [...values]);
  expect(rows.map(({ at }) => at)).toEqual([second(102), second(101), second(100)]);
});

test("a page deep in the log takes as much as the first", async () => {
  const [first, deep] = [all({}), listAccesses("acme", {}, await idOf(2_500), 51)];
  const [one, other] = [
    await effortOf(superuser, "audit_app", "acme", first),
    await effortOf(superuser, "audit_app", "acme", deep),
  ];
  expect(other.read).toBe(one.read);
  expect(other.buffers).toBeLessThanOrEqual(one.buffers + 5);
});

async function idOf(number: number): Promise<string> {
  const { rows } = await superuser.query<{ access_id: string }>(
    "SELECT access_id FROM access_log WHERE tenant_id = 'acme' AND at = $1",
    [second(number)],
  );
  return rows[0]!.access_id;
}
