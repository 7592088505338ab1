import { existsSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { databaseRoles, withDatabase } from "#services/local/databases.ts";
import { openAttackSession } from "../support/attack-session.ts";
import { cloneAuditDatabase, cloneCaseDatabase, type TestDatabase } from "../support/databases.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { openSuperuser } from "../support/superuser.ts";

expectNoLeaks();

const stack = new AsyncDisposableStack();
let databases: Record<"case" | "audit", TestDatabase>;
beforeAll(async () => {
  databases = { case: stack.use(await cloneCaseDatabase()), audit: stack.use(await cloneAuditDatabase()) };
});
afterAll(() => stack.disposeAsync());

const roles = [
  ...databaseRoles.case.users.map((role) => ({ role, kind: "case" as const, table: "audit_entries" })),
  ...databaseRoles.audit.users.map((role) => ({ role, kind: "audit" as const, table: "events" })),
];
const file = "/tmp/caseflow-attack";

/** Ways out of the grants: to other rights, around the table's guards, to the machine. */
const escapes: readonly ((table: string, owner: string) => string)[] = [
  (_, owner) => `SET ROLE ${owner}`,
  () => "SET ROLE postgres",
  () => "SET SESSION AUTHORIZATION postgres",
  () => "SET session_replication_role = 'replica'",
  () => "ALTER ROLE current_user SUPERUSER",
  () => "ALTER ROLE current_user BYPASSRLS",
  () => "CREATE ROLE mallory",
  (_, owner) => `GRANT ${owner} TO current_user`,
  () => "GRANT pg_read_all_data TO current_user",
  (table) => `ALTER TABLE ${table} DISABLE TRIGGER ALL`,
  (table) => `ALTER TABLE ${table} DISABLE ROW LEVEL SECURITY`,
  (table) => `ALTER TABLE ${table} NO FORCE ROW LEVEL SECURITY`,
  (table) => `ALTER TABLE ${table} DROP COLUMN event_id`,
  (table) => `ALTER TABLE ${table} ADD COLUMN mine text`,
  (table) => `ALTER TABLE ${table} OWNER TO current_user`,
  (table) => `ALTER TABLE ${table} RENAME TO mine`,
  (table) => `DROP POLICY of_tenant ON ${table}`,
  (table) => `CREATE POLICY mine ON ${table} USING (true)`,
  (table) => `CREATE RULE mine AS ON INSERT TO ${table} DO INSTEAD NOTHING`,
  (table) =>
    `CREATE TRIGGER mine BEFORE INSERT ON ${table} EXECUTE FUNCTION suppress_redundant_updates_trigger()`,
  (table) => `CREATE INDEX mine ON ${table} (event_id)`,
  (table) => `DROP TABLE ${table}`,
  () => "DROP SCHEMA public CASCADE",
  (table) => `LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`,
  (table) => `SELECT FROM ${table} FOR UPDATE`,
  (table) => `SET LOCAL row_security = off; SELECT FROM ${table}`,
  () => "CREATE TABLE mine (id int)",
  () => "CREATE TEMPORARY TABLE mine (id int)",
  () => "CREATE VIEW mine AS SELECT 1",
  () => "CREATE SCHEMA mine",
  () => "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
  () => "CREATE EXTENSION pgcrypto",
  () => "CREATE PUBLICATION mine FOR ALL TABLES",
  () => "DO LANGUAGE plpgsql $$ BEGIN EXECUTE 'CREATE TABLE mine (id int)'; END $$",
  () => `COPY (SELECT 1) TO '${file}'`,
  () => `COPY (SELECT 1) TO PROGRAM 'touch ${file}'`,
  (table) => `COPY ${table} FROM '/etc/passwd'`,
  (table) => `COPY ${table} FROM PROGRAM 'touch ${file}'`,
  () => "SELECT pg_read_file('/etc/passwd')",
  () => "SELECT pg_read_binary_file('PG_VERSION')",
  () => "SELECT pg_ls_dir('.')",
  () => "SELECT lo_import('/etc/passwd')",
  () => "SELECT pg_reload_conf()",
  () => "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
  () => "SELECT rolpassword FROM pg_authid",
];

test.each(roles)("$role finds no way around its grants", async ({ role, kind, table }) => {
  const database = databases[kind];
  await using witness = await openSuperuser(database.superuserUrl); // There is somebody to terminate.
  await using session = await openAttackSession(withDatabase(database.appUrl, database.name, role));
  for (const escape of escapes) {
    const text = escape(table, databaseRoles[kind].owner);
    expect(await session.attempt(text, "acme"), text).toBe("42501");
  }
  expect((await witness.query("SELECT 1")).rowCount).toBe(1);
  expect(existsSync(file)).toBe(false);
});

test.each(roles)("what $role grants to others is nothing", async ({ role, kind, table }) => {
  const database = databases[kind];
  await using session = await openAttackSession(withDatabase(database.appUrl, database.name, role));
  await using superuser = await openSuperuser(database.superuserUrl);
  const grants = `SELECT relname, relacl::text FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1`;
  const readGrants = async () => (await superuser.query(grants)).rows;
  const before = await readGrants();
  expect(await session.attempt(`GRANT ALL ON ${table} TO PUBLIC; COMMIT; BEGIN`)).toMatch(/^(done|42501)/);
  expect(await readGrants()).toEqual(before);
});
