import type { Client, Pool } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openPool } from "#libs/pg/pool.ts";
import { runForTenant } from "#libs/pg/tenant-transaction.ts";
import { makeCandidate } from "#test/support/candidate.ts";
import { cloneAuditDatabase, type AuditDatabase } from "#test/support/databases.ts";
import { appendAsReleased } from "#test/support/released-append.ts";
import { expectSoundTrees } from "#test/support/sound-tree.ts";
import { openSuperuser } from "#test/support/superuser.ts";
import { planAppend } from "../domain/append.ts";
import { appendEvents, catchUp } from "./append-events.ts";
import { insertTiles } from "./tiles.ts";

const stack = new AsyncDisposableStack();
let pool: Pool;
let database: AuditDatabase;
let superuser: Client;

beforeAll(async () => {
  database = stack.use(await cloneAuditDatabase());
  pool = stack.use(
    openPool({
      url: database.appUrl,
      max: 5,
      applicationName: "appender",
      connectTimeoutMs: 5_000,
      onError: () => {}, // Told to whoever uses the connection.
    }),
  );
  superuser = stack.use(await openSuperuser(database.superuserUrl));
});
afterAll(() => stack.disposeAsync());

async function append(tenantId: string, count: number, through = pool): Promise<void> {
  const candidates = Array.from({ length: count }, () => makeCandidate(tenantId));
  const { appended } = await appendEvents(through, { tenantId, timeoutMs: 20_000 }, candidates, (log) =>
    planAppend(log, candidates),
  );
  expect(appended).toHaveLength(count);
}

async function sizesOf(tenantId: string): Promise<{ size: number; tree_size: number }> {
  const { rows } = await superuser.query("SELECT size::int, tree_size::int FROM logs WHERE tenant_id = $1", [
    tenantId,
  ]);
  return rows[0];
}

test("batches of any size leave tree, edge and full tiles as they are computed from all stored bytes", async () => {
  // On the edge of a tile, over it, exactly a tile, over two, and what comes after each of them.
  for (const count of [1, 254, 1, 1, 255, 256, 1, 254, 2, 500, 12, 500, 500, 3, 253, 257]) {
    await append("sizes", count);
    await expectSoundTrees(superuser, "sizes");
  }
  expect((await sizesOf("sizes")).size).toBe(3_050);
});

test("a batch of which nothing is new, or only a part, adds to the tree what is new and nothing else", async () => {
  const tenantId = "partly";
  const candidates = Array.from({ length: 300 }, () => makeCandidate(tenantId));
  const early = { ...makeCandidate(tenantId), sequence: 2n };
  for (const batch of [candidates.slice(0, 250), [early, ...candidates.slice(200)], candidates]) {
    await appendEvents(pool, { tenantId, timeoutMs: 20_000 }, batch, (log) => planAppend(log, batch));
    await expectSoundTrees(superuser, tenantId);
  }
  expect(await sizesOf(tenantId)).toEqual({ size: 300, tree_size: 300 });
});

test("appenders who compete leave one tree, whatever the size of their batches", async () => {
  await Promise.all(
    [1, 77, 130, 256].map(async (count) => {
      for (let round = 0; round < 6; round++) await append("rivals", count);
    }),
  );
  expect((await sizesOf("rivals")).size).toBe(6 * 464);
  await expectSoundTrees(superuser, "rivals");
});

test("events that the release before appends, also in between, are taken into the tree by the next append", async () => {
  const tenantId = "upgraded";
  for (const [old, own] of [
    [300, 1],
    [1, 1],
    [500, 400],
    [13, 500],
  ] as const) {
    const before = (await sizesOf(tenantId))?.tree_size ?? 0;
    await appendAsReleased(database.appUrl, tenantId, old);
    expect((await sizesOf(tenantId)).tree_size, "it knows of no tree").toBe(before);
    await append(tenantId, own);
    await expectSoundTrees(superuser, tenantId);
  }
  expect((await sizesOf(tenantId)).size).toBe(1_716);
});

test("a log of the release before is taken into the tree without an event, and a log that has all or is none stays", async () => {
  await appendAsReleased(database.appUrl, "quiet", 700);
  for (let round = 0; round < 2; round++) {
    await catchUp(pool, { tenantId: "quiet", timeoutMs: 20_000 });
    expect(await sizesOf("quiet")).toEqual({ size: 700, tree_size: 700 });
  }
  await catchUp(pool, { tenantId: "nobody", timeoutMs: 20_000 });
  expect(await sizesOf("nobody")).toBeUndefined();
  await expectSoundTrees(superuser);
});

test("a tree that lacks a leaf, or a tile that is there already, stops the append and leaves everything as it was", async () => {
  const tenantId = "broken";
  await append(tenantId, 255);
  await superuser.query("DELETE FROM events WHERE tenant_id = $1 AND leaf_index = 7", [tenantId]);
  await expect(append(tenantId, 1)).rejects.toThrow("leaf 7 is missing from the log");
  expect(await sizesOf(tenantId)).toEqual({ size: 255, tree_size: 255 });

  await appendAsReleased(database.appUrl, "lagging", 3);
  await superuser.query("DELETE FROM events WHERE tenant_id = 'lagging'");
  await expect(append("lagging", 1)).rejects.toThrow("leaf 0 is missing from the log");
  expect(await sizesOf("lagging")).toEqual({ size: 3, tree_size: 0 });

  await append("squatted", 255);
  const tile = { level: 0, index: 0, hashes: Buffer.alloc(8_192), root: Buffer.alloc(32) };
  await runForTenant(pool, { tenantId: "squatted", timeoutMs: 5_000 }, [insertTiles("squatted", [tile])]);
  await expect(append("squatted", 1)).rejects.toThrow("tiles_pkey");
  expect(await sizesOf("squatted")).toEqual({ size: 255, tree_size: 255 });
});

test("an append waits until it is on disk, whatever the database does by default", async () => {
  await superuser.query(`
    CREATE TABLE seen (setting text);
    CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
      $$ BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
    CREATE TRIGGER see AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION see()`);
  await superuser.query(`ALTER DATABASE ${database.name} SET synchronous_commit = off`);
  await using fresh = openPool({
    url: database.appUrl,
    max: 1,
    applicationName: "appender",
    connectTimeoutMs: 5_000,
    onError: () => {}, // Told to whoever uses the connection.
  });
  expect((await fresh.query("SHOW synchronous_commit")).rows).toEqual([{ synchronous_commit: "off" }]);
  await append("durable", 1, fresh);
  expect((await superuser.query("SELECT setting FROM seen")).rows).toEqual([{ setting: "on" }]);
});

test("a long log is taken into the tree in steps that are committed one by one, past the first tile of level 1", async () => {
  const tenantId = "long";
  await seed(tenantId, 65_200);
  await superuser.query(`
    CREATE TABLE steps (tree_size bigint, events bigint);
    CREATE FUNCTION step() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
      $$ BEGIN INSERT INTO steps VALUES (new.tree_size - old.tree_size, new.size - old.size); RETURN new; END $$;
    CREATE TRIGGER step AFTER UPDATE ON logs FOR EACH ROW WHEN (new.tenant_id = 'long') EXECUTE FUNCTION step()`);
  await append(tenantId, 500);
  const { rows } = await superuser.query<{ tree_size: string; events: string }>("SELECT * FROM steps");
  expect(rows.length).toBeGreaterThan(10);
  for (const step of rows.slice(0, -1)) expect(step).toEqual({ tree_size: "4096", events: "0" });
  expect(rows.at(-1)).toMatchObject({ events: "500" });
  expect(await sizesOf(tenantId)).toEqual({ size: 65_700, tree_size: 65_700 });
  const tiles = await superuser.query(
    "SELECT count(*)::int FROM tiles WHERE tenant_id = 'long' AND level = 1",
  );
  expect(tiles.rows).toEqual([{ count: 1 }]);
  await expectSoundTrees(superuser, tenantId);
}, 120_000);

/** A log as the release before left it: events and size, and no tree; in a database that is not for listing. */
async function seed(tenantId: string, count: number): Promise<void> {
  const { rows } = await superuser.query<{ names: string }>(
    "SELECT string_agg(indexname, ', ') AS names FROM pg_indexes WHERE indexname LIKE 'events_by_%'",
  );
  await superuser.query(`DROP INDEX ${rows[0]!.names}`);
  await superuser.query(
    `INSERT INTO events (tenant_id, leaf_index, event_id, source, type, subject, subject_sequence, actor_id,
                         occurred_at, recorded_at, received_at, digest, bytes)
     SELECT $1, i, gen_random_uuid(), 'a/b', 'a.b.c', i::text, 1, 'ada', now(), now(), now(),
            sha256(convert_to($1 || i, 'UTF8')), convert_to($1 || i, 'UTF8')
       FROM generate_series(0, $2::bigint - 1) AS i`,
    [tenantId, count],
  );
  await superuser.query("INSERT INTO logs (tenant_id, size) VALUES ($1, $2)", [tenantId, count]);
}
