import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { DatabaseError, type Pool } from "pg";
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { listenerOf, startCuttingProxy, throughProxy } from "#test/support/cutting-proxy.ts";
import { createEmptyDatabase } from "#test/support/empty-database.ts";
import { type PostgresProxy, startPostgresProxy } from "#test/support/postgres-proxy.ts";
import { waitUntil } from "#test/support/wait-until.ts";
import { openPool } from "./pool.ts";
import type { Statement } from "./statement.ts";
import { runForTenant, runTransaction } from "./tenant-transaction.ts";
import { NotConnectedError, OutcomeUnknownError } from "./transaction-errors.ts";

const options = { tenantId: "acme", timeoutMs: 5_000 };
const stack = new AsyncDisposableStack();
/** Straight to the database. */
let admin: Pool;
let databaseUrl: string;
/** One connection, through the proxy. */
let pool: Pool & AsyncDisposable;
let proxy: PostgresProxy;
let idleErrors: Error[];

beforeAll(async () => {
  const database = stack.use(await createEmptyDatabase());
  databaseUrl = database.url;
  admin = stack.use(open(databaseUrl));
  proxy = stack.use(await startPostgresProxy(databaseUrl));
  await admin.query(`
    CREATE TABLE notes (id int PRIMARY KEY);
    CREATE TABLE slow_commits (id int);
    CREATE TABLE late_refusals (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);
    CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(30); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER sleep AFTER INSERT ON slow_commits
      DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sleep()`);
});

afterAll(() => stack.disposeAsync());

beforeEach(async () => {
  await pool?.[Symbol.asyncDispose]();
  await admin.query("TRUNCATE notes, slow_commits");
  proxy.reset();
  idleErrors = [];
  pool = stack.use(open(proxy.tcpUrl));
});

test.each(["tcpUrl", "unixUrl"] as const)(
  "a transaction of three statements is one round trip by %s, also when they are prepared in it",
  async (url) => {
    await using other = open(proxy[url]);
    await other.query("SELECT 1");
    const statements = [insert(1), insert(2), select];

    proxy.reset();
    await runForTenant(other, options, statements.slice(0, 1));
    const first = proxy.writes();
    proxy.reset();
    await runForTenant(other, options, [insert(3), insert(2), select]);
    const second = proxy.writes();

    expect([first, second]).toEqual([1, 1]);
  },
);

test("when the answer to a commit is lost the outcome is unknown, and it was committed", async () => {
  proxy.cutBefore("server", "COMMIT\0");

  const error = await failure(runForTenant(pool, options, [insert(1)]));

  expect(error).toBeInstanceOf(OutcomeUnknownError);
  expect(await stored()).toEqual([1]);
  await expectHealthy();
});

test("when the transaction is lost on its way the outcome is unknown, and nothing was committed", async () => {
  await pool.query("SELECT 1");
  proxy.cutBefore("client", "BEGIN");

  const error = await failure(runForTenant(pool, options, [insert(1)]));

  expect(error).toBeInstanceOf(OutcomeUnknownError);
  expect(await stored()).toEqual([]);
  await expectHealthy();
});

test("when a read-only transaction is lost it is safe to try again", async () => {
  proxy.cutBefore("server", "COMMIT\0");

  const error = await failure(runForTenant(pool, { ...options, readOnly: true }, [select]));

  expect(error).toBeInstanceOf(NotConnectedError);
  await expectHealthy();
});

test("a refused statement is known to have failed, even if the connection is lost right after", async () => {
  await runForTenant(pool, options, [insert(1)]);
  proxy.cutBefore("server", "ROLLBACK\0");

  const error = await failure(runForTenant(pool, options, [insert(1)]));

  expect(error).toBeInstanceOf(DatabaseError);
  expect(error).toMatchObject({ code: "23505", constraint: "notes_pkey" });
  await expectHealthy();
});

test("a COMMIT that is answered with ROLLBACK is a failure", async () => {
  proxy.rewrite("COMMIT\0", "ABORT \0");

  await expect(runForTenant(pool, options, [insert(1)])).rejects.toThrow("rolled back");

  expect(await stored()).toEqual([]);
  proxy.reset();
  await expectHealthy();
});

test("if BEGIN is refused, statements that ran outside of a transaction leave the outcome unknown", async () => {
  proxy.rewrite("BEGIN ISOLATION", "BEGUN ISOLATION");

  const error = await failure(runForTenant(pool, options, [insert(1), insert(1)]));

  expect(error).toBeInstanceOf(OutcomeUnknownError);
  expect(await stored()).toEqual([1]);
});

test("if BEGIN is refused and no statement succeeded, the refusal is thrown", async () => {
  await admin.query("INSERT INTO notes VALUES (1)");
  proxy.rewrite("BEGIN ISOLATION", "BEGUN ISOLATION");

  await expect(runForTenant(pool, options, [insert(1)])).rejects.toMatchObject({ code: "42601" });
});

test("a connection that is killed while idle is told of and replaced", async () => {
  const pid = await backendPid();
  await admin.query("SELECT pg_terminate_backend($1)", [pid]);
  await expect.poll(() => idleErrors).toHaveLength(1);

  await runForTenant(pool, options, [insert(1)]);

  expect(idleErrors[0]).toMatchObject({ code: "57P01" });
  expect(await stored()).toEqual([1]);
});

test.each([
  ["in a statement", [{ name: "sleep", text: "SELECT pg_sleep(30)", values: [] }]],
  ["in the commit", [{ name: "slow_commit", text: "INSERT INTO slow_commits VALUES (1)", values: [] }]],
])("a connection that is killed %s leaves the outcome unknown", async (_where, statements) => {
  const failed = failure(runForTenant(pool, options, statements));
  const pid = await sleepingPid();
  await admin.query("SELECT pg_terminate_backend($1)", [pid]);

  const error = await failed;

  expect(error).toBeInstanceOf(OutcomeUnknownError);
  expect(error).toMatchObject({ cause: { code: "57P01" } });
  await expectHealthy();
});

test("a commit that is cancelled leaves the outcome unknown, and the connection usable", async () => {
  const pid = await backendPid();
  const failed = failure(
    runForTenant(pool, options, [
      { name: "slow_commit", text: "INSERT INTO slow_commits VALUES (1)", values: [] },
    ]),
  );
  await admin.query("SELECT pg_cancel_backend($1)", [await sleepingPid()]);

  const error = await failed;

  expect(error).toBeInstanceOf(OutcomeUnknownError);
  expect(error).toMatchObject({ cause: { code: "57014" } });
  expect(await backendPid()).toBe(pid);
});

test("a connection that says that it is ready some time after it refused a commit is used again", async () => {
  await using slow = await startCuttingProxy(listenerOf(databaseUrl));
  await using other = open(throughProxy(databaseUrl, slow));
  const refused = Promise.withResolvers<void>();
  other.on("connect", ({ connection }) => connection.once("errorMessage", refused.resolve));
  const pid = await backendPid(other);
  const ready = slow.strike({ side: "server", has: "Z\0\0\0\u0005I" }, "hold");
  const late = { name: "late", text: "INSERT INTO late_refusals VALUES (1)", values: [] };
  const failed = failure(runForTenant(other, options, [late, late]));
  await Promise.all([ready.struck, refused.promise]);
  expect(await Promise.race([failed, soon("waits")])).toBe("waits");
  ready.release();

  expect(await failed).toMatchObject({ code: "23505" });
  expect(await backendPid(other)).toBe(pid);
});

test("a commit that hangs is given up half a second after the time is over", async () => {
  holdTimers();
  const failed = failure(
    runForTenant(pool, options, [
      { name: "slow_commit", text: "INSERT INTO slow_commits VALUES (1)", values: [] },
    ]),
  );
  const pid = await sleepingPid();

  const [, leftMs] = /statement_timeout\D*(\d+)/.exec(proxy.sent()) ?? [];

  await vi.advanceTimersByTimeAsync(Number(leftMs) + 499);
  expect(await Promise.race([failed, soon("waits")])).toBe("waits");
  await vi.advanceTimersByTimeAsync(1);
  expect(await Promise.race([failed, soon("waits")])).toBeInstanceOf(OutcomeUnknownError);

  await expectHealthy();
  expect(await sleepingPid()).toBe(pid);
  await admin.query("SELECT pg_terminate_backend($1)", [pid]);
});

test("a frozen server leaves the outcome unknown in time, and the pool recovers", async () => {
  const pid = await backendPid();
  proxy.reset();
  holdTimers();
  process.kill(pid, "SIGSTOP");
  try {
    const failed = failure(runForTenant(pool, options, [insert(1)]));
    await waitUntil(async () => proxy.sent().includes("COMMIT"));

    await vi.advanceTimersByTimeAsync(options.timeoutMs + 500);
    expect(await Promise.race([failed, soon("waits")])).toBeInstanceOf(OutcomeUnknownError);
    await expectHealthy();
  } finally {
    process.kill(pid, "SIGCONT");
  }
  await expectHealthy();
});

test("a server that cannot be reached, or does not let us in, was sent nothing", async () => {
  const nowhere = new URL(proxy.tcpUrl);
  nowhere.port = "1";
  await using unreachable = open(nowhere.href);
  const missing = new URL(proxy.tcpUrl);
  missing.pathname = "/missing";
  await using unknown = open(missing.href);

  const errors = [
    await failure(runForTenant(unreachable, options, [insert(1)])),
    await failure(runForTenant(unknown, options, [insert(1)])),
  ];

  expect(errors).toEqual([expect.any(NotConnectedError), expect.any(NotConnectedError)]);
  expect(errors).toMatchObject([{ cause: { code: "ECONNREFUSED" } }, { cause: { code: "3D000" } }]);
});

test("a server that accepts connections and says nothing was sent nothing, in the time left", async () => {
  const silent = createServer(() => {}).listen(0, "127.0.0.1");
  await once(silent, "listening");
  const { port } = silent.address() as AddressInfo; // It listens on TCP.
  await using other = open(`postgresql://nobody@127.0.0.1:${port}/none`, "test", 50);
  holdTimers();
  const connected = once(silent, "connection");
  const failed = failure(runForTenant(other, { ...options, timeoutMs: 100 }, [insert(1)]));
  await connected;

  await vi.advanceTimersByTimeAsync(100);
  expect(await Promise.race([failed, soon("waits")])).toBeInstanceOf(NotConnectedError);
  silent.close();
});

test("closing a pool lets a transaction under way finish, and leaves no connection behind", async () => {
  const other = open(proxy.tcpUrl, "closing");
  const written = runForTenant(other, options, [
    { name: "nap", text: "SELECT pg_sleep(0.2)", values: [] },
    insert(1),
  ]);
  await sleepingPid();

  await other[Symbol.asyncDispose]();

  await written;
  expect(await stored()).toEqual([1]);
  expect(proxy.openConnections("closing")).toBe(0);
  await expect(runForTenant(other, options, [insert(2)])).rejects.toThrow(NotConnectedError);
});

test("closing a pool cuts a connection that does not come back", async () => {
  const other = open(proxy.tcpUrl, "closing", 50);
  const kept = await other.connect();

  await other[Symbol.asyncDispose]();

  await expect(kept.query("SELECT 1")).rejects.toThrow("is not queryable");
  expect(proxy.openConnections("closing")).toBe(0);
  kept.release();
});

const select: Statement = { name: "select_notes", text: "SELECT id FROM notes ORDER BY id", values: [] };

function insert(id: number): Statement {
  return { name: "insert_note", text: "INSERT INTO notes VALUES ($1)", values: [id] };
}

function open(url: string, applicationName = "test", drainMs = 5_000): Pool & AsyncDisposable {
  return openPool({
    url,
    max: 1,
    applicationName,
    connectTimeoutMs: 5_000,
    drainMs,
    onError: (error) => idleErrors.push(error),
  });
}

async function failure(running: Promise<unknown>): Promise<unknown> {
  return running.then(
    () => expect.fail("it succeeded"),
    (error: unknown) => error,
  );
}

async function expectHealthy(): Promise<void> {
  const [result] = await runForTenant(pool, options, [{ name: "one", text: "SELECT 1 AS one", values: [] }]);
  expect(result?.rows).toEqual([{ one: 1 }]);
  expect(pool.totalCount).toBe(1);
}

async function stored(): Promise<number[]> {
  return (await admin.query("SELECT id FROM notes ORDER BY id")).rows.map((row) => row.id);
}

async function backendPid(through = pool): Promise<number> {
  const pid = { name: "pid", text: "SELECT pg_backend_pid() AS pid", values: [] };
  return (await runTransaction(through, { timeoutMs: 5_000 }, [pid]))[0]?.rows[0].pid;
}

/** Of the backend in this database that sleeps, once there is one. */
async function sleepingPid(): Promise<number> {
  const text =
    "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
  let pids: number[] = [];
  await waitUntil(async () => {
    pids = (await admin.query(text)).rows.map(({ pid }) => pid);
    return pids.length === 1;
  });
  return pids[0]!;
}

/** Lets no timer of this side run out but by the test, however long the machine stalls; `expect.poll` would move them. */
function holdTimers(): void {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  onTestFinished(() => void vi.useRealTimers());
}

/** After what is ready to run has run. */
function soon<T>(value: T): Promise<T> {
  return new Promise((resolve) => setImmediate(resolve, value));
}
