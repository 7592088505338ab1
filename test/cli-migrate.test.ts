import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, test } from "vitest";

import { commandInProcess } from "./support/command-in-process.ts";
import { createEmptyDatabase } from "./support/empty-database.ts";

const home = join(tmpdir(), "caseflow-without-a-stack");

test("migrate brings both databases up to date, says what it applied, and finds nothing to do again", async () => {
  await using cases = await createEmptyDatabase();
  await using audit = await createEmptyDatabase();
  const env = { CASE_OWNER_DATABASE_URL: cases.url, AUDIT_OWNER_DATABASE_URL: audit.url };

  const first = await migrate(env, "--to", "1");
  expect(first.output).toMatch(/^case +applied 0001_\w+\.sql\naudit +applied 0001_\w+\.sql\n$/);
  expect(first.exitCode).toBe(0);

  await migrate(env);
  const again = await migrate(env, "--json");
  expect(JSON.parse(again.output)).toEqual([
    { database: "case", applied: [] },
    { database: "audit", applied: [] },
  ]);
});

test("migrate with one database named and not the other says which is missing", async () => {
  const { exitCode, output } = await migrate({
    CASE_OWNER_DATABASE_URL: "postgresql://nobody@localhost/none",
  });
  expect(output).toMatch(/^caseflow: AUDIT_OWNER_DATABASE_URL is not set/);
  expect(exitCode).toBe(1);
});

test("migrate with neither, and without a stack, says how to start one", async () => {
  const { exitCode, output } = await migrate({});
  expect(output).toBe(`caseflow: no stack is running with the folder ${home}: start it with npm start\n`);
  expect(exitCode).toBe(1);
});

test("migrate names the database that cannot be reached, and not its password", async () => {
  const url = "postgresql://owner:hunter2@127.0.0.1:1/none";
  const { exitCode, output } = await migrate({ CASE_OWNER_DATABASE_URL: url, AUDIT_OWNER_DATABASE_URL: url });
  expect(output).toMatch(/^caseflow: case database: /);
  expect(output).not.toContain("hunter2");
  expect(exitCode).toBe(1);
});

test("a migration that is no number is not understood, and exits 2", async () => {
  expect((await migrate({}, "--to", "latest")).exitCode).toBe(2);
});

async function migrate(env: Record<string, string>, ...args: string[]) {
  const { exit, stdout, stderr } = await commandInProcess(["migrate", ...args], {
    CASEFLOW_HOME: home,
    ...env,
  });
  return { exitCode: exit, output: stderr + stdout };
}
