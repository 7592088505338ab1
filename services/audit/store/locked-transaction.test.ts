import { randomUUID } from "node:crypto";
import { DatabaseError, type Pool } from "pg";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { emptyTree } from "#libs/merkle/tree.ts";
import { openPool } from "#libs/pg/pool.ts";
import { openSession } from "#libs/pg/session.ts";
import type { Statement } from "#libs/pg/statement.ts";
import {
  NotConnectedError,
  OutcomeUnknownError,
  StatementTimeoutError,
  TimeBudgetSpentError,
} from "#libs/pg/transaction-errors.ts";
import { cloneAuditDatabase, type TestDatabase } from "#test/support/databases.ts";
import { startPostgresProxy, type PostgresProxy } from "#test/support/postgres-proxy.ts";
import { runLocked } from "./locked-transaction.ts";
import { createLog, lockLog, saveLog, type LogRow } from "./logs.ts";

const tenantId = "acme";
const options = { tenantId, timeoutMs: 10_000 };
const saveLogSize = (of: string, to: bigint) => saveLog(of, to, emptyTree);
const reads = [createLog(tenantId), lockLog(tenantId)];
const stack = new AsyncDisposableStack();
let database: TestDatabase;
let proxy: PostgresProxy;
/** Each test's own: backends of earlier ones may still be ending. */
let applicationName: string;
/** Of one connection, through the proxy. */
let pool: Pool & AsyncDisposable;
let superuser: Awaited<ReturnType<typeof openSession>>;

beforeAll(async () => {
  database = stack.use(await cloneAuditDatabase());
  proxy = stack.use(await startPostgresProxy(database.appUrl));
  superuser = stack.use(await session());
});
afterAll(() => stack.disposeAsync());

beforeEach(async () => {
  await pool?.[Symbol.asyncDispose]();
  proxy.reset();
  applicationName = `locked-${randomUUID()}`;
  await superuser.query("DELETE FROM logs");
  pool = stack.use(open(1));
});

const session = () =>
  openSession({
    url: database.superuserUrl,
    applicationName: "test",
    connectTimeoutMs: 5_000,
    onError: () => {}, // Its query fails with it.
  });

const open = (max: number) =>
  openPool({
    url: proxy.unixUrl,
    max,
    applicationName,
    connectTimeoutMs: 5_000,
    onError: () => {}, // Told to whoever uses the connection.
  });

/** Adds one to the size of the log. */
const grow = (through: Pool = pool, timeoutMs = options.timeoutMs) =>
  runLocked(through, { tenantId, timeoutMs }, reads, ([, log]) => {
    const row: LogRow = log?.rows[0];
    return [saveLogSize(tenantId, BigInt(row.size) + 1n)];
  });

/** The size of the log; `undefined` when there is none. */
async function size(): Promise<number | undefined> {
  const { rows } = await superuser.query("SELECT size::int FROM logs WHERE tenant_id = $1", [tenantId]);
  return rows[0]?.size;
}

async function backends(): Promise<number[]> {
  const { rows } = await superuser.query<{ pid: number }>(
    "SELECT pid FROM pg_stat_activity WHERE application_name = $1 ORDER BY pid",
    [applicationName],
  );
  return rows.map(({ pid }) => pid);
}

/** Holds the lock of the log until disposed. */
async function holdLock() {
  const holder = await session();
  await holder.query("BEGIN");
  await holder.query(
    "INSERT INTO logs VALUES ($1, 0) ON CONFLICT (tenant_id) DO UPDATE SET size = logs.size",
    [tenantId],
  );
  return holder;
}

const untilSomebodyWaits = () =>
  vi.waitFor(
    async () => {
      const { rows } = await superuser.query<{ pid: number }>(
        "SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'",
        [applicationName],
      );
      if (!rows[0]) throw new Error("nobody waits for the lock");
      return rows[0].pid;
    },
    { timeout: 5_000, interval: 10 },
  );

test("whoever gets the lock sees what its last holder committed", async () => {
  await using many = open(8);
  await Promise.all(Array.from({ length: 60 }, () => grow(many)));
  expect(await size()).toBe(60);
});

test("a transaction is two round trips", async () => {
  await grow();
  proxy.reset();
  await grow();
  expect(proxy.writes()).toBe(2);
});

test("nothing is changed, and the connection is kept, when there is nothing to write", async () => {
  await runLocked(pool, options, reads, () => []);
  expect(await size()).toBeUndefined();
  const before = await backends();
  await grow();
  expect(await backends()).toEqual(before);
});

test("nothing is changed, and the connection is kept, when deciding fails", async () => {
  const failing = runLocked(pool, options, reads, () => {
    throw new Error("cannot decide");
  });
  await expect(failing).rejects.toThrow("cannot decide");
  expect(await size()).toBeUndefined();
  const before = await backends();
  await grow();
  expect(await backends()).toEqual(before);
});

test("a write that is refused undoes those before it, and is thrown as the database put it", async () => {
  await grow();
  const before = await backends();
  const refused = runLocked(pool, options, reads, () => [
    saveLogSize(tenantId, 7n),
    saveLogSize(tenantId, -1n),
    saveLogSize(tenantId, 9n),
  ]);
  await expect(refused).rejects.toMatchObject({ constraint: "logs_size_from_zero" });
  expect(await size()).toBe(1);
  await grow();
  expect(await backends()).toEqual(before);
});

test("a read that is refused is thrown as the database put it, and nothing is decided", async () => {
  const wrong: Statement = { name: "wrong", text: "SELECT 1 / 0", values: [] };
  const decide = vi.fn(() => [saveLogSize(tenantId, 1n)]);
  const refused = runLocked(pool, options, [...reads, wrong], decide);
  await expect(refused).rejects.toBeInstanceOf(DatabaseError);
  expect(decide).not.toHaveBeenCalled();
  expect(await size()).toBeUndefined();
  await grow();
});

test("the wait for the lock ends with the caller's time, and the connection is kept", async () => {
  await grow();
  const before = await backends();
  {
    await using _holder = await holdLock();
    await expect(grow(pool, 150)).rejects.toBeInstanceOf(StatementTimeoutError);
  }
  expect(await size()).toBe(1);
  await grow();
  expect(await backends()).toEqual(before);
});

test("nothing is sent when no time is left", async () => {
  await expect(grow(pool, 0.9)).rejects.toBeInstanceOf(TimeBudgetSpentError);
  await expect(grow(pool, Number.NaN)).rejects.toBeInstanceOf(TimeBudgetSpentError);
  expect(await backends()).toEqual([]);
});

test("a connection that dies while it waits for the lock has changed nothing, and is replaced", async () => {
  await grow();
  {
    await using _holder = await holdLock();
    const killed = untilSomebodyWaits().then((pid) =>
      superuser.query("SELECT pg_terminate_backend($1)", [pid]),
    );
    await expect(grow()).rejects.toBeInstanceOf(NotConnectedError);
    await killed;
  }
  expect(await size()).toBe(1);
  await grow();
  expect(await size()).toBe(2);
});

test("when the answer to the commit is lost the outcome is unknown, and it was committed", async () => {
  await grow();
  proxy.cutBefore("server", "COMMIT\0");
  await expect(grow()).rejects.toBeInstanceOf(OutcomeUnknownError);
  expect(await size()).toBe(2);
  await grow();
  expect(await size()).toBe(3);
});

test("when the writes are lost on their way the outcome is unknown, and nothing was committed", async () => {
  await grow();
  proxy.cutBefore("client", "COMMIT\0");
  await expect(grow()).rejects.toBeInstanceOf(OutcomeUnknownError);
  await grow(); // Gets the lock only after the server has noticed.
  expect(await size()).toBe(2);
});
