import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { promisify } from "node:util";

import { expect, test } from "vitest";

import {
  createDatabases,
  databaseRoles,
  openSuperuserSession,
  withDatabase,
} from "#services/local/databases.ts";

import { cloneAuditDatabase, cloneCaseDatabase } from "./databases.ts";

async function query(url: string, text: string): Promise<unknown[][]> {
  await using session = await openSuperuserSession(url);
  return (await session.query<unknown[]>({ text, rowMode: "array" })).rows;
}

async function listTables(url: string): Promise<unknown[]> {
  const sql = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1";
  return (await query(url, sql)).flat();
}

const insufficientPrivilege = "42501";

test("a clone has the migrated tables, and they belong to the owner role", async () => {
  await using caseDatabase = await cloneCaseDatabase();
  await using auditDatabase = await cloneAuditDatabase();
  expect(await listTables(caseDatabase.superuserUrl)).toContain("cases");
  expect(await listTables(auditDatabase.superuserUrl)).toContain("events");
  for (const [{ superuserUrl }, owner] of [
    [caseDatabase, "case_owner"],
    [auditDatabase, "audit_owner"],
  ] as const) {
    expect(
      await query(superuserUrl, "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"),
    ).toEqual([[owner]]);
  }
});

test("what is written to one clone shows in no other", async () => {
  await using one = await cloneCaseDatabase();
  await using other = await cloneCaseDatabase();
  await query(one.ownerUrl, "CREATE TABLE only_here (n int)");
  expect(await listTables(one.ownerUrl)).toContain("only_here");
  expect(await listTables(other.ownerUrl)).not.toContain("only_here");
});

test("each role connects to its own database and to no other service's", async () => {
  await using caseDatabase = await cloneCaseDatabase();
  await using auditDatabase = await cloneAuditDatabase();
  const ofCase = [caseDatabase.ownerUrl, caseDatabase.appUrl, caseDatabase.relayUrl];
  const ofAudit = [auditDatabase.ownerUrl, auditDatabase.appUrl];
  for (const url of [...ofCase, ...ofAudit]) expect(await query(url, "SELECT 1")).toEqual([[1]]);
  const crossed = [
    ...ofCase.map((url) => withDatabase(url, auditDatabase.name)),
    ...ofAudit.map((url) => withDatabase(url, caseDatabase.name)),
  ];
  for (const url of crossed) {
    await expect(query(url, "SELECT 1")).rejects.toMatchObject({ code: insufficientPrivilege });
  }
});

test("application and relay roles own nothing, create nothing and see every row through row-level security", async () => {
  await using database = await cloneCaseDatabase();
  const users = [...databaseRoles.case.users, ...databaseRoles.audit.users, "case_owner", "audit_owner"];
  const sql = `SELECT rolname FROM pg_roles WHERE rolname = ANY('{${users.join(",")}}')
    AND rolcanlogin AND NOT (rolsuper OR rolbypassrls OR rolcreatedb OR rolcreaterole OR rolreplication)`;
  expect(new Set((await query(database.superuserUrl, sql)).flat())).toEqual(new Set(users));
  for (const url of [database.appUrl, database.relayUrl]) {
    for (const text of ["CREATE TABLE t (n int)", "CREATE TEMPORARY TABLE t (n int)", "CREATE SCHEMA s"]) {
      await expect(query(url, text)).rejects.toMatchObject({ code: insufficientPrivilege });
    }
  }
});

test("disposing a clone drops it while somebody is connected", async () => {
  await using witness = await cloneAuditDatabase();
  const database = await cloneAuditDatabase();
  await using session = await openSuperuserSession(database.appUrl);
  await session.query("SELECT 1");
  await database[Symbol.asyncDispose]();
  const sql = `SELECT count(*)::int FROM pg_database WHERE datname = '${database.name}'`;
  expect(await query(witness.superuserUrl, sql)).toEqual([[0]]);
});

test("many clones at once are all made", async () => {
  const clones = await Promise.all([1, 2, 3, 4].map(() => cloneCaseDatabase()));
  await using all = new AsyncDisposableStack();
  for (const clone of clones) all.use(clone);
  expect(new Set(clones.map(({ name }) => name)).size).toBe(4);
});

test("making the databases again keeps what is in them, and takes back rights that were given meanwhile", async () => {
  await using database = await cloneCaseDatabase();
  await using audit = await cloneAuditDatabase();
  await query(database.ownerUrl, "CREATE TABLE kept (n int)");
  await query(database.superuserUrl, `GRANT CONNECT ON DATABASE ${database.name} TO PUBLIC`);
  await query(database.superuserUrl, "GRANT ALL ON SCHEMA public TO PUBLIC");
  await createDatabases(database.superuserUrl, { case: database.name, audit: audit.name });
  expect(await listTables(database.ownerUrl)).toContain("kept");
  const elsewhere = withDatabase(audit.appUrl, database.name);
  await expect(query(elsewhere, "SELECT 1")).rejects.toMatchObject({ code: insufficientPrivilege });
  await expect(query(database.appUrl, "CREATE TABLE t (n int)")).rejects.toMatchObject({
    code: insufficientPrivilege,
  });
});

test.skipIf(!existsSync("/usr/bin/psql"))("psql connects as the application role", async () => {
  await using database = await cloneCaseDatabase();
  const args = [database.appUrl, "--no-psqlrc", "-tAc", "SELECT current_user || ' ' || current_database()"];
  const { stdout } = await promisify(execFile)("/usr/bin/psql", args);
  expect(stdout).toBe(`case_app ${database.name}\n`);
});
