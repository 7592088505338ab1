import { randomBytes } from "node:crypto";
import { getEventListeners } from "node:events";
import { DatabaseError, type Pool, type QueryResult } from "pg";
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { createEmptyDatabase } from "#test/support/empty-database.ts";
import { probeDatabase } from "./health-probe.ts";
import { openPool } from "./pool.ts";
import { openSession } from "./session.ts";
import type { Statement } from "./statement.ts";
import { runForTenant, runTransaction } from "./tenant-transaction.ts";
import { NotConnectedError, StatementTimeoutError, TimeBudgetSpentError } from "./transaction-errors.ts";

const timeoutMs = 5_000;
const stack = new AsyncDisposableStack();
/** As the database's owner, whom row-level security does not bind: to look behind the scenes. */
let admin: Pool;
let tenantUrl: string;
/** One connection, as a role that row-level security binds. */
let pool: Pool;

beforeAll(async () => {
  const database = stack.use(await createEmptyDatabase());
  admin = stack.use(open(database.url, 2));
  const role = `tenant_user_${randomBytes(4).toString("hex")}`;
  await admin.query(`CREATE ROLE ${role}`);
  stack.defer(async () => {
    await admin.query(`DROP OWNED BY ${role}`);
    await admin.query(`DROP ROLE ${role}`);
  });
  await admin.query(`
    CREATE TABLE notes (
      tenant_id text NOT NULL,
      id int,
      text text,
      CONSTRAINT notes_pkey PRIMARY KEY (tenant_id, id),
      CONSTRAINT notes_text_unique UNIQUE (text) DEFERRABLE INITIALLY DEFERRED
    );
    ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON notes USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
    GRANT ALL ON notes TO ${role};
    CREATE FUNCTION attempts() RETURNS bigint LANGUAGE sql AS $$
      SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
       WHERE l.locktype = 'advisory' AND d.datname = current_database()
    $$;
    CREATE FUNCTION refuse_and_count(code text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM pg_advisory_lock(attempts());
      RAISE EXCEPTION 'no' USING ERRCODE = code;
    END $$`);
  tenantUrl = `${database.url}&options=-c%20role%3D${role}`;
  pool = stack.use(open(tenantUrl, 1));
});

afterAll(() => stack.disposeAsync());
beforeEach(() => admin.query("TRUNCATE notes"));

test("a transaction's results come in the order of its statements, and its writes are committed", async () => {
  const results = await runForTenant(pool, { tenantId: "acme", timeoutMs }, [
    insert("acme", 1, "one"),
    insert("acme", 2, "two"),
    select,
  ]);

  expect(results.map((result) => result.rowCount)).toEqual([1, 1, 2]);
  expect(results[2]?.rows).toEqual([{ id: 1 }, { id: 2 }]);
  expect(await stored()).toEqual(["acme/1", "acme/2"]);
});

test("a transaction sees its own tenant's rows and cannot write another's", async () => {
  await runForTenant(pool, { tenantId: "acme", timeoutMs }, [insert("acme", 1, "one")]);

  const [seen] = await runForTenant(pool, { tenantId: "globex", timeoutMs }, [select]);
  const intruding = runForTenant(pool, { tenantId: "globex", timeoutMs }, [insert("acme", 2, "two")]);

  expect(seen?.rows).toEqual([]);
  await expect(intruding).rejects.toMatchObject({ code: "42501" });
  expect(await stored()).toEqual(["acme/1"]);
});

test("the next user of the connection has no tenant and no time limit of the last one", async () => {
  await runForTenant(pool, { tenantId: "acme", timeoutMs }, [insert("acme", 1, "one")]);
  await runForTenant(pool, { tenantId: "acme", timeoutMs }, [insert("acme", 1, "again")]).catch(() => {});

  const { rows } = await pool.query(
    "SELECT current_setting('app.tenant_id', true) AS tenant, current_setting('statement_timeout') AS timeout",
  );
  const [seen] = await runTransaction(pool, { timeoutMs }, [select]);

  expect(rows).toEqual([{ tenant: "", timeout: "0" }]);
  expect(seen?.rows).toEqual([]);
});

test.each(["", "Acme", "-acme", "a'b", "a_b", "a".repeat(64), "acme\n", "acme'; DROP TABLE notes; --"])(
  "the tenant id %j is refused",
  async (tenantId) => {
    await expect(runForTenant(pool, { tenantId, timeoutMs }, [select])).rejects.toThrow(TypeError);
  },
);

test("after a statement that fails nothing runs, nothing stays, and its error is the one thrown", async () => {
  const error = await failure(
    runForTenant(pool, { tenantId: "acme", timeoutMs }, [
      insert("acme", 1, "one"),
      insert("acme", 1, "one again"),
      statement("fails_too", "SELECT 1 / 0"),
    ]),
  );

  expect(error).toBeInstanceOf(DatabaseError);
  expect(error).toMatchObject({ code: "23505", constraint: "notes_pkey" });
  expect(await stored()).toEqual([]);
});

test("a constraint that is checked at the commit fails the transaction under its own name", async () => {
  const error = await failure(
    runForTenant(pool, { tenantId: "acme", timeoutMs }, [
      insert("acme", 1, "same"),
      insert("acme", 2, "same"),
    ]),
  );

  expect(error).toMatchObject({ code: "23505", constraint: "notes_text_unique" });
  expect(await stored()).toEqual([]);
});

test("a connection survives its statements' failures, and serves the next transaction", async () => {
  const before = await backendPid();

  await failure(runTransaction(pool, { timeoutMs }, [statement("divides", "SELECT 1 / 0"), select]));
  await failure(runTransaction(pool, { timeoutMs }, [statement("misspelled", "SELEC 1")]));

  expect(await backendPid()).toBe(before);
});

test("a statement whose first use was skipped, or refused, is prepared at its next use", async () => {
  const late = statement("late", "SELECT $1::int AS n", [7]);
  await failure(runTransaction(pool, { timeoutMs }, [statement("divides", "SELECT 1 / 0"), late]));
  const early = statement("early", "SELECT n FROM not_yet");
  await failure(runTransaction(pool, { timeoutMs }, [early, early]));
  await admin.query("CREATE TABLE not_yet AS SELECT 1 AS n; GRANT SELECT ON not_yet TO PUBLIC");

  const [first] = await runTransaction(pool, { timeoutMs }, [late]);
  const [second] = await runTransaction(pool, { timeoutMs }, [early]);

  expect(first?.rows).toEqual([{ n: 7 }]);
  expect(second?.rows).toEqual([{ n: 1 }]);
});

test("one statement may run twice in a transaction, also at its first use", async () => {
  const text = "INSERT INTO notes (tenant_id, id) VALUES ('acme', $1)";
  const twice = [statement("insert_twice", text, [1]), statement("insert_twice", text, [2])];

  await runForTenant(pool, { tenantId: "acme", timeoutMs }, twice);

  expect(await stored()).toEqual(["acme/1", "acme/2"]);
});

test.each<[string, Statement]>([
  ["another text under a known name", statement("select_notes", "SELECT 2")],
  ["a value without an SQL form", statement("one_value", "SELECT $1", [() => 1])],
  ["a value that cannot be JSON", statement("one_value", "SELECT $1", [{ big: 1n }])],
  ["an invalid date", statement("one_value", "SELECT $1", [new Date(Number.NaN)])],
  ["a name that the server would cut", statement("n".repeat(64), "SELECT 1")],
  ["more values than the protocol can count", statement("many", "SELECT 1", Array.from({ length: 65_536 }))],
])("%s is refused before anything is sent", async (_what, bad) => {
  await runForTenant(pool, { tenantId: "acme", timeoutMs }, [select]);

  const refused = runForTenant(pool, { tenantId: "acme", timeoutMs }, [insert("acme", 1, "one"), bad]);

  await expect(refused).rejects.toThrow(TypeError);
  expect(await stored()).toEqual([]);
});

test("values arrive as they are: null, bytes, dates, arrays, JSON, big integers", async () => {
  const at = new Date("2026-11-21T12:34:56.789Z");
  const text = `SELECT $1::text AS nothing, $2::bytea AS bytes, $3::timestamptz AS at, $4::text[] AS list,
                       $5::jsonb AS json, $6::bigint AS big, $7::bytea[] AS blobs`;
  const values = [null, Uint8Array.of(0, 255), at, ['a"b', null, "c\\d"], { a: [1, "x"] }, 2n ** 62n];

  const [result] = await runTransaction(pool, { timeoutMs }, [
    statement("values", text, [...values, [Uint8Array.of(1), Uint8Array.of(2)]]),
  ]);

  expect(result?.rows).toEqual([
    {
      nothing: null,
      bytes: Buffer.of(0, 255),
      at,
      list: ['a"b', null, "c\\d"],
      json: { a: [1, "x"] },
      big: String(2n ** 62n),
      blobs: [Buffer.of(1), Buffer.of(2)],
    },
  ]);
});

test("a prepared statement that a change of the schema has spoiled fails once and then works", async () => {
  await admin.query("CREATE TABLE shapes AS SELECT 1 AS n; GRANT SELECT ON shapes TO PUBLIC");
  const shapes = statement("shapes", "SELECT * FROM shapes");
  await runTransaction(pool, { timeoutMs }, [shapes]);
  await admin.query("ALTER TABLE shapes ALTER n TYPE text");

  await expect(runTransaction(pool, { timeoutMs }, [shapes])).rejects.toMatchObject({ code: "0A000" });
  const [result] = await runTransaction(pool, { timeoutMs }, [shapes]);

  expect(result?.rows).toEqual([{ n: "1" }]);
});

test.each([0, 0.9, -5, Number.NaN])("with %d ms left nothing is sent", async (leftMs) => {
  const failed = runForTenant(pool, { tenantId: "acme", timeoutMs: leftMs }, [insert("acme", 1, "one")]);

  await expect(failed).rejects.toThrow(TimeBudgetSpentError);
  expect(await stored()).toEqual([]);
});

test("a statement that runs out of time is cancelled by the server, and nothing is committed", async () => {
  await backendPid(); // Connected, so that it is sent at once.
  holdTimers(); // Of the guard on this side.

  const failed = runForTenant(pool, { tenantId: "acme", timeoutMs: 200 }, [
    insert("acme", 1, "one"),
    statement("sleep", "SELECT pg_sleep(30)"),
  ]);

  await expect(failed).rejects.toThrow(StatementTimeoutError);
  expect(await stored()).toEqual([]);
});

test("whoever waits for a connection longer than the time left is told that nothing was sent", async () => {
  using _holder = await holdConnection();
  holdTimers();

  const failed = failure(
    runForTenant(pool, { tenantId: "acme", timeoutMs: 150 }, [insert("acme", 1, "one")]),
  );

  await vi.advanceTimersByTimeAsync(150);
  const soon = new Promise((resolve) => setImmediate(resolve, "waits"));
  expect(await Promise.race([failed, soon])).toBeInstanceOf(NotConnectedError);
});

test("a caller who goes while waiting for a connection sends nothing, and the connection is not lost", async () => {
  const gone = new Error("caller gone");
  const caller = new AbortController();
  const waiting = await (async () => {
    using _holder = await holdConnection();
    const write = runForTenant(pool, { tenantId: "acme", timeoutMs, signal: caller.signal }, [
      insert("acme", 1, "one"),
    ]);
    caller.abort(gone);
    return failure(write);
  })();
  const late = runForTenant(pool, { tenantId: "acme", timeoutMs, signal: caller.signal }, [
    insert("acme", 2, "two"),
  ]);

  expect(waiting).toBe(gone);
  await expect(late).rejects.toBe(gone);
  expect(await stored()).toEqual([]);
  expect(await backendPid()).toEqual(expect.any(Number));
});

test("a caller who goes after sending does not stop the transaction, and is not listened to any more", async () => {
  const caller = new AbortController();
  const written = runForTenant(pool, { tenantId: "acme", timeoutMs, signal: caller.signal }, [
    statement("short_sleep", "SELECT pg_sleep(0.2)"),
    insert("acme", 1, "one"),
  ]);
  await expect.poll(sleepers, { interval: 5 }).toBe(1);
  expect(getEventListeners(caller.signal, "abort")).toEqual([]);
  caller.abort();

  await written;

  expect(await stored()).toEqual(["acme/1"]);
});

test("a read-only transaction cannot write", async () => {
  const refused = runForTenant(pool, { tenantId: "acme", timeoutMs, readOnly: true }, [
    insert("acme", 1, "one"),
  ]);

  await expect(refused).rejects.toMatchObject({ code: "25006" });
});

test.each(["40001", "40P01"])(
  "a read that is refused with %s is tried again while there is time, and no longer",
  async (code) => {
    // Advisory locks outlive the transactions that are undone.
    const refuse = `refuse_and_count('${code}')`;
    const twice = statement(`twice_${code}`, `SELECT CASE WHEN attempts() < 2 THEN ${refuse} END`);
    await runForTenant(pool, { tenantId: "acme", timeoutMs, readOnly: true }, [twice]);
    expect(await attemptsCounted()).toBe(2);

    const always = statement(`always_${code}`, `SELECT ${refuse}`);
    const error = await failure(
      runForTenant(pool, { tenantId: "acme", timeoutMs: 1_000, readOnly: true }, [always]),
    );
    expect(error).toBeInstanceOf(StatementTimeoutError);
    expect(error).toMatchObject({ cause: { code } });
    expect(await attemptsCounted()).toBeGreaterThan(0);
  },
);

test("a transaction that may write is not tried again here, whatever the database asks for", async () => {
  const attempts = statement("attempts_to_write", "SELECT refuse_and_count('40001')");
  const error = await failure(runForTenant(pool, { tenantId: "acme", timeoutMs }, [attempts]));

  expect(error).toMatchObject({ code: "40001" });
  expect(await attemptsCounted()).toBe(1);
});

test("a setting holds for its transaction only", async () => {
  const plan = statement("plan_mode", "SELECT current_setting('plan_cache_mode') AS mode");

  const [with_] = await runTransaction(
    pool,
    { timeoutMs, settings: { plan_cache_mode: "force_custom_plan" } },
    [plan],
  );
  const [without] = await runTransaction(pool, { timeoutMs }, [plan]);

  expect([with_, without].map((result) => result?.rows[0].mode)).toEqual(["force_custom_plan", "auto"]);
});

test("a plan that was made for an almost empty table does not outlast the next few dozen transactions", async () => {
  await admin.query(`
    CREATE TABLE entries (tenant_id text NOT NULL, key int NOT NULL, number int NOT NULL, filler char(500));
    ALTER TABLE entries ALTER COLUMN filler SET STORAGE PLAIN;
    ALTER TABLE entries SET (autovacuum_enabled = false);
    CREATE INDEX entries_by_key ON entries (tenant_id, key);
    CREATE INDEX entries_by_number ON entries (tenant_id, number);
    GRANT SELECT ON entries TO PUBLIC`);
  await using young = open(tenantUrl, 1);
  const find = statement("find_entry", "SELECT number FROM entries WHERE tenant_id = $1 AND key = $2", [
    "acme",
    1,
  ]);
  const plan = statement("plan_of_find", "EXPLAIN EXECUTE find_entry('acme', 1)");
  const planned = async () => {
    const [, found] = await runForTenant(young, { tenantId: "acme", timeoutMs }, [find, plan]);
    return found?.rows.map((row) => row["QUERY PLAN"]).join(" ");
  };
  for (let count = 1; count < 30; count++) await planned();
  const before = await planned();
  await admin.query("INSERT INTO entries SELECT 'acme', n, n, '' FROM generate_series(1, 2000) n");
  for (let count = 1; count < 5; count++) await planned();

  expect(before).toContain("entries_by_number"); // Or the test would hold nothing.
  expect(await planned()).toContain("entries_by_key");
});

test("a connection that comes back inside a transaction is not handed on", async () => {
  const left = await pool.connect();
  await left.query("BEGIN");
  left.release();

  const first = runForTenant(pool, { tenantId: "acme", timeoutMs }, [insert("acme", 1, "one")]);

  await expect(first).rejects.toThrow("handed over inside a transaction");
  await runForTenant(pool, { tenantId: "acme", timeoutMs }, [insert("acme", 2, "two")]);
  expect(await stored()).toEqual(["acme/2"]);
});

test("a transaction runs on a client of one's own, if it is pipelined", async () => {
  const client = await pool.connect();
  try {
    await runTransaction(client, { timeoutMs, settings: { "app.tenant_id": "acme" } }, [
      insert("acme", 1, "one"),
    ]);
  } finally {
    client.release();
  }
  await using session = await openSession({
    url: tenantUrl,
    applicationName: "test",
    connectTimeoutMs: 5_000,
    onError: () => {},
  });

  await expect(runTransaction(session, { timeoutMs }, [select])).rejects.toThrow(TypeError);
  expect(await stored()).toEqual(["acme/1"]);
});

test("a client of one's own that is left inside a transaction is cut off", async () => {
  const client = await pool.connect();
  await client.query("BEGIN");

  await expect(runTransaction(client, { timeoutMs }, [select])).rejects.toThrow("inside a transaction");

  expect(client.connection.stream.destroyed).toBe(true);
  client.release(true);
});

test("a probe succeeds while the pool can answer, and fails when it cannot", async () => {
  await probeDatabase(pool);
  using _holder = await holdConnection();

  await expect(probeDatabase(pool)).rejects.toThrow(NotConnectedError);
});

const select = statement("select_notes", "SELECT id FROM notes ORDER BY id");

function insert(tenantId: string, id: number, text: string): Statement {
  const sql = "INSERT INTO notes (tenant_id, id, text) VALUES ($1, $2, $3)";
  return statement("insert_note", sql, [tenantId, id, text]);
}

function statement(name: string, text: string, values: readonly unknown[] = []): Statement {
  return { name, text, values };
}

function open(url: string, max: number): Pool & AsyncDisposable {
  return openPool({ url, max, applicationName: "test", connectTimeoutMs: 5_000, onError: () => {} });
}

async function failure(running: Promise<QueryResult[]>): Promise<unknown> {
  return running.then(
    () => expect.fail("it succeeded"),
    (error: unknown) => error,
  );
}

async function stored(): Promise<string[]> {
  const { rows } = await admin.query("SELECT tenant_id || '/' || id AS key FROM notes ORDER BY key");
  return rows.map((row) => row.key);
}

/** How often `refuse_and_count` was called; counting starts anew. */
async function attemptsCounted(): Promise<number> {
  const { rows } = await admin.query("SELECT attempts()::integer AS count");
  await pool.query("SELECT pg_advisory_unlock_all()");
  return rows[0].count;
}

async function sleepers(): Promise<number | null> {
  return (
    await admin.query(
      "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()",
    )
  ).rowCount;
}

async function backendPid(): Promise<number> {
  const [result] = await runTransaction(pool, { timeoutMs }, [
    statement("pid", "SELECT pg_backend_pid() AS pid"),
  ]);
  return result?.rows[0].pid;
}

/** Lets no timer of this side run out but by the test, however long the machine stalls. */
function holdTimers(): void {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  onTestFinished(() => void vi.useRealTimers());
}

/** Takes the pool's only connection until disposed. */
async function holdConnection(): Promise<Disposable> {
  const client = await pool.connect();
  return { [Symbol.dispose]: () => client.release() };
}
