import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Client } from "pg";
import { expect, test } from "vitest";
import { createEmptyDatabase } from "#test/support/empty-database.ts";
import { openSuperuser } from "#test/support/superuser.ts";
import { waitUntil } from "#test/support/wait-until.ts";
import { migrate } from "./migrate.ts";
import { openSession } from "./session.ts";

test("migrations are applied in order, and each once", async () => {
  await using at = await start({
    "0002_fill.sql": "INSERT INTO notes VALUES ('two');",
    "0001_notes.sql": "CREATE TABLE notes (text text); INSERT INTO notes VALUES ('one');",
    "README.md": "not a migration",
  });
  const told: string[] = [];

  const first = await migrate({ ...at, onApplied: (name) => told.push(name) });
  const second = await migrate(at);

  expect(first.applied).toEqual(["0001_notes.sql", "0002_fill.sql"]);
  expect(told).toEqual(first.applied);
  expect(second.applied).toEqual([]);
  expect(await at.query("SELECT text FROM notes")).toEqual([{ text: "one" }, { text: "two" }]);
});

test("a migration that fails names file, line and reason, and leaves nothing of itself", async () => {
  await using at = await start({
    "0001_notes.sql": "CREATE TABLE notes (text text);",
    "0002_broken.sql": "INSERT INTO notes VALUES ('lost');\n\nSELECT missing FROM notes;\n",
  });

  await expect(migrate(at)).rejects.toThrow('0002_broken.sql:3: column "missing" does not exist [42703]');

  expect(await at.query("SELECT text FROM notes")).toEqual([]);
  expect(await at.query("SELECT version FROM schema_migrations")).toEqual([{ version: 1 }]);
  await at.write({ "0002_broken.sql": "INSERT INTO notes VALUES ('kept');" });
  expect((await migrate(at)).applied).toEqual(["0002_broken.sql"]);
});

test("a migration that cannot be recorded is not applied", async () => {
  await using at = await start({
    "0001_a.sql":
      "CREATE TABLE a (); INSERT INTO schema_migrations (version, name, sha256) VALUES (1, '', '')",
  });

  await expect(migrate(at)).rejects.toThrow("0001_a.sql: duplicate key");

  expect(await at.query("SELECT to_regclass('a') AS a")).toEqual([{ a: null }]);
});

test("a migration that was changed after it was applied is refused", async () => {
  await using at = await start({ "0001_notes.sql": "CREATE TABLE notes (text text);" });
  await migrate(at);
  await at.write({ "0001_notes.sql": "CREATE TABLE notes (text text); ", "0002_more.sql": "SELECT 1;" });

  await expect(migrate(at)).rejects.toThrow("0001_notes.sql: changed after it was applied");

  expect(await at.query("SELECT version FROM schema_migrations")).toEqual([{ version: 1 }]);
});

test.each([
  ["a gap", ["0001_a.sql", "0003_b.sql"], "0003_b.sql: out of sequence, expected a file numbered 0002"],
  ["a duplicate", ["0001_a.sql", "0001_b.sql"], "0001_b.sql: out of sequence, expected a file numbered 0002"],
  ["a start above one", ["0002_a.sql"], "0002_a.sql: out of sequence, expected a file numbered 0001"],
  ["an unnumbered file", ["0001_a.sql", "fix.sql"], "fix.sql: not a migration's name"],
  ["an empty folder", [], "no migration in it"],
])("%s in the numbering is refused before anything runs", async (_what, names, message) => {
  await using at = await start(Object.fromEntries(names.map((name) => [name, "CREATE TABLE seen ();"])));

  await expect(migrate(at)).rejects.toThrow(message);

  expect(await at.query("SELECT to_regclass('seen') AS seen")).toEqual([{ seen: null }]);
});

test("of migrators that run at once, one applies and the others find nothing to do", async () => {
  await using at = await start({
    "0001_notes.sql": "CREATE TABLE notes (text text); SELECT pg_sleep(0.1);",
    "0002_fill.sql": "INSERT INTO notes VALUES ('once');",
  });

  const results = await Promise.all(Array.from({ length: 4 }, () => migrate(at)));

  expect(results.flatMap((result) => result.applied)).toEqual(["0001_notes.sql", "0002_fill.sql"]);
  expect(await at.query("SELECT text FROM notes")).toEqual([{ text: "once" }]);
});

test("a migrator that was killed holds nobody up, and what it left is not there", async () => {
  await using at = await start({ "0001_slow.sql": "CREATE TABLE slow (); SELECT pg_sleep(30);" });
  const killed = migrate(at).then(
    () => "finished",
    (error: unknown) => String(error),
  );
  const sleeping =
    "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
  const [backend] = await expect
    .poll(() => at.query(sleeping), { timeout: 5_000 })
    .toHaveLength(1)
    .then(() => at.query(sleeping));
  await at.write({ "0001_slow.sql": "CREATE TABLE slow ();" });
  const next = migrate(at);
  await at.query(`SELECT pg_terminate_backend(${Number(backend?.["pid"])})`);

  expect(await killed).toContain("0001_slow.sql: terminating connection");
  expect((await next).applied).toEqual(["0001_slow.sql"]);
});

test("a migration that ends its own transaction is refused and not recorded", async () => {
  await using at = await start({ "0001_a.sql": "CREATE TABLE a (); COMMIT; BEGIN;" });

  await expect(migrate(at)).rejects.toThrow("0001_a.sql: it ended the transaction it is applied in");

  expect(await at.query("SELECT version FROM schema_migrations")).toEqual([]);
});

test("what a migration sets does not reach the next one", async () => {
  await using at = await start({
    "0001_elsewhere.sql": "CREATE SCHEMA elsewhere; SET search_path = elsewhere; SET lock_timeout = 0;",
    "0002_here.sql": "CREATE TABLE here AS SELECT current_setting('lock_timeout') AS lock_timeout;",
  });

  await migrate(at);

  expect(await at.query("SELECT lock_timeout FROM public.here")).toEqual([{ lock_timeout: "100ms" }]);
});

test("a target stops the run there, and one below what is applied is refused", async () => {
  await using at = await start({
    "0001_a.sql": "SELECT 1;",
    "0002_b.sql": "SELECT 2;",
    "0003_c.sql": "SELECT 3;",
  });

  expect((await migrate({ ...at, to: 2 })).applied).toEqual(["0001_a.sql", "0002_b.sql"]);
  expect((await migrate({ ...at, to: 2 })).applied).toEqual([]);
  await expect(migrate({ ...at, to: 1 })).rejects.toThrow("the database is at 2, migrations only go forward");
  await expect(migrate({ ...at, to: 4 })).rejects.toThrow("the files end at 3");
});

test("a migration that finds its table in use lets the others go on, and is applied once the table is free", async () => {
  await using at = await start({ "0001_notes.sql": "CREATE TABLE notes (text text);" });
  await migrate(at);
  await at.write({ "0002_more.sql": "ALTER TABLE notes ADD COLUMN more text;" });
  await using user = await openSuperuser(at.url);
  await using observer = await openSuperuser(at.url);
  await user.query("BEGIN");
  await user.query("SELECT FROM notes");

  const migrating = migrate(at);
  await waitUntil(() => someoneWaits(observer));
  await observer.query("SELECT text FROM notes"); // Waits behind the migration, which waits for the user.
  await user.query("COMMIT");

  expect(await migrating).toEqual({ applied: ["0002_more.sql"] });
});

test("in a deadlock it is the migration that lets go and tries again", async () => {
  await using at = await start({ "0001_notes.sql": "CREATE TABLE first (); CREATE TABLE second ();" });
  await migrate(at);
  await at.write({ "0002_more.sql": "LOCK TABLE first, second IN ACCESS EXCLUSIVE MODE; DROP TABLE first;" });
  await using user = await openSuperuser(at.url);
  await using observer = await openSuperuser(at.url);
  await user.query("BEGIN");
  await user.query("SELECT FROM second");

  const migrating = migrate(at);
  await waitUntil(() => someoneWaits(observer));
  await user.query("SELECT FROM first");
  await user.query("COMMIT");

  expect(await migrating).toEqual({ applied: ["0002_more.sql"] });
});

/** Whether somebody waits for a table of the client's database. */
async function someoneWaits(client: Client): Promise<boolean> {
  const { rows } = await client.query(
    "SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database() AND NOT l.granted",
  );
  return rows.length > 0;
}

async function start(files: Record<string, string>) {
  await using opened = new AsyncDisposableStack();
  const database = opened.use(await createEmptyDatabase());
  const folder = await mkdtemp(join(tmpdir(), "migrations-"));
  opened.defer(() => rm(folder, { recursive: true }));
  const write = async (more: Record<string, string>) => {
    for (const [name, text] of Object.entries(more)) await writeFile(join(folder, name), text);
  };
  const query = async (text: string): Promise<Record<string, unknown>[]> => {
    await using session = await openSession({
      url: database.url,
      applicationName: "test",
      connectTimeoutMs: 5_000,
      onError: () => {},
    });
    return (await session.query(text)).rows;
  };
  await write(files);
  const running = opened.move();
  return { url: database.url, folder, write, query, [Symbol.asyncDispose]: () => running.disposeAsync() };
}
