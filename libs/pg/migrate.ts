/**
 * Forward-only migrations.
 *
 * A migration is a file `NNNN_name.sql`. It is applied in one transaction together with its row in
 * `schema_migrations`, so that after a crash a file is either applied and recorded, or neither, and running
 * `migrate` again goes on where it stopped. One migrator works at a time: a session advisory lock is held from
 * before the first look at the table; a second migrator waits for it and then finds nothing left to do. The lock
 * goes with the session, so a killed migrator holds nobody up.
 *
 * Services go on meanwhile. A migration waits for their tables for a moment only, lets go, and is tried again: whoever is
 * behind it waits no longer than that, and then for the migration itself. The same ends deadlocks, and on the migration's side.
 * They cannot be ordered away: a prepared statement of several parts locks its tables in one order when it is parsed and in
 * another whenever it is used again.
 *
 * A database that is ahead of the folder (an older release started again) is left as it is.
 */
import { setTimeout as pause } from "node:timers/promises";
import { type Client, DatabaseError } from "pg";

import { createBackoff } from "#libs/resilience/backoff.ts";
import { readMigrationFiles, type MigrationFile } from "./migration-files.ts";
import { openSession } from "./session.ts";
import { asksToTryAgain } from "./try-again.ts";

export interface MigrateOptions {
  /** Of the role that owns the schema. A direct connection: a pooler in transaction mode loses the lock. */
  readonly url: string;
  readonly folder: string;
  /** The last version to apply; all of them when absent. Below what is applied already it is refused. */
  readonly to?: number;
  /** Called with the file's name once it is committed. */
  readonly onApplied?: (name: string) => void;
}

const connectTimeoutMs = 10_000;
/** How long a second migrator waits for the first. */
const turnTimeoutMs = 600_000;
/**
 * How long a migration waits for a table at a time. What it waits for several stays below PostgreSQL's `deadlock_timeout`, one
 * second, after which a service that is caught in a deadlock with it would fail.
 */
const lockTimeoutMs = 100;
/** How long a migration is tried again because others use its tables, and the pauses in which they go on. */
const triesMs = 60_000;
const pauses = { baseMs: 50, capMs: 1_000 };
/** ASCII "migrate" as a bigint: the advisory lock's key, one for each database. */
const lockKey = "0x6d696772617465";

/**
 * Brings the database up to the last file, or to version `to`, and returns the names it applied.
 *
 * A failure names the file, the line where the database gave one, and the database's message; files before it
 * stay applied. Statements have no time limit of their own: building an index may take hours.
 */
export async function migrate(options: MigrateOptions): Promise<{ applied: string[] }> {
  const files = await readMigrationFiles(options.folder);
  const target = readTarget(options.to, files.length);
  await using session = await openSession({
    url: options.url,
    applicationName: "migrate",
    connectTimeoutMs,
    onError: () => {}, // The query under way fails with it, and there always is one.
  });
  await takeTurn(session);
  try {
    const pending = await findPending(session, files, target);
    const applied: string[] = [];
    for (const file of pending) {
      await apply(session, file);
      applied.push(file.name);
      options.onApplied?.(file.name);
    }
    return { applied };
  } finally {
    // A dead session has let go already, and must not hide the error that it died of.
    await session.query(`SELECT pg_advisory_unlock(${BigInt(lockKey)})`).catch(() => {});
  }
}

function readTarget(to: number | undefined, last: number): number {
  if (to === undefined) return last;
  if (!Number.isInteger(to) || to < 0 || to > last) {
    throw new Error(`cannot migrate to version ${to}: the files end at ${last}`);
  }
  return to;
}

async function takeTurn(session: Client): Promise<void> {
  await session.query(`SET lock_timeout = ${turnTimeoutMs}`);
  await session.query(`SELECT pg_advisory_lock(${BigInt(lockKey)})`);
  await session.query(`SET lock_timeout = ${lockTimeoutMs}`);
}

/** Checks what is applied against the files, and returns those still to come. */
async function findPending(session: Client, files: readonly MigrationFile[], target: number) {
  await session.query(`
    CREATE TABLE IF NOT EXISTS schema_migrations (
      version    int PRIMARY KEY,
      name       text NOT NULL,
      sha256     bytea NOT NULL,
      applied_at timestamptz NOT NULL DEFAULT now()
    )`);
  const { rows } = await session.query<{ version: number; name: string; sha256: Buffer }>(
    "SELECT version, name, sha256 FROM schema_migrations ORDER BY version",
  );
  for (const row of rows) {
    const file = files[row.version - 1];
    if (file && !row.sha256.equals(file.sha256)) {
      throw new Error(
        `${file.name}: changed after it was applied (as ${row.name}); add a new migration instead`,
      );
    }
  }
  const current = rows.at(-1)?.version ?? 0;
  if (current > target && target < files.length) {
    throw new Error(
      `cannot migrate to version ${target}: the database is at ${current}, migrations only go forward`,
    );
  }
  return files.slice(current, target);
}

/** Applies a file, trying again while others keep it from the tables. */
async function apply(session: Client, file: MigrationFile): Promise<void> {
  const endsAt = performance.now() + triesMs;
  const nextPauseMs = createBackoff(pauses, Math.random);
  for (;;) {
    try {
      return await applyNow(session, file);
    } catch (error) {
      if (!isKeptOut(error) || performance.now() >= endsAt) {
        throw new Error(`${file.name}${describe(error, file.sql)}`, { cause: error });
      }
    }
    await pause(nextPauseMs());
  }
}

/** `lock_not_available`, and what PostgreSQL asks to try again. */
function isKeptOut(error: unknown): boolean {
  return asksToTryAgain(error) || (error instanceof DatabaseError && error.code === "55P03");
}

async function applyNow(session: Client, file: MigrationFile): Promise<void> {
  try {
    await session.query("BEGIN");
    const before = await currentTransaction(session);
    await session.query(file.sql);
    if ((await currentTransaction(session)) !== before) {
      throw new Error("it ended the transaction it is applied in; leave out BEGIN, COMMIT and ROLLBACK");
    }
    // The file may have changed the search path or the role, also for the files after it.
    await session.query(`RESET SESSION AUTHORIZATION; RESET ALL; SET lock_timeout = ${lockTimeoutMs}`);
    await session.query({
      text: "INSERT INTO schema_migrations (version, name, sha256) VALUES ($1, $2, $3)",
      values: [file.version, file.name, file.sha256],
    });
    await session.query("COMMIT");
  } catch (error) {
    await session.query("ROLLBACK").catch(() => {}); // The first error is the one to tell.
    throw error;
  }
}

/** The transaction's id, or `undefined` outside of one. */
async function currentTransaction(session: Client): Promise<string | undefined> {
  if (session.getTransactionStatus() !== "T") return undefined;
  const { rows } = await session.query<{ id: string }>("SELECT pg_current_xact_id()::text AS id");
  return rows[0]?.id;
}

function describe(error: unknown, sql: string): string {
  if (!(error instanceof DatabaseError)) return `: ${error instanceof Error ? error.message : String(error)}`;
  const line = error.position ? `:${lineAt(sql, Number(error.position))}` : "";
  const detail = error.detail ? ` (${error.detail})` : "";
  return `${line}: ${error.message}${detail} [${error.code}]`;
}

/** `position` counts characters from 1, as PostgreSQL does. */
function lineAt(sql: string, position: number): number {
  return (
    Array.from(sql)
      .slice(0, position - 1)
      .filter((character) => character === "\n").length + 1
  );
}
