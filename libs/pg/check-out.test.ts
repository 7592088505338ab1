import fc from "fast-check";
import { DatabaseError, type Pool } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createEmptyDatabase } from "#test/support/empty-database.ts";
import { queueOf, waitingMaxPerConnection } from "./check-out.ts";
import { openPool } from "./pool.ts";
import { openSession } from "./session.ts";
import type { Statement } from "./statement.ts";
import { runForTenant, runTransaction } from "./tenant-transaction.ts";
import {
  NotConnectedError,
  OutcomeUnknownError,
  QueueFullError,
  StatementTimeoutError,
  TimeBudgetSpentError,
} from "./transaction-errors.ts";

const timeoutMs = 10_000;
const stack = new AsyncDisposableStack();
let url: string;
beforeAll(async () => {
  ({ url } = stack.use(await createEmptyDatabase()));
});
afterAll(() => stack.disposeAsync());

const open = (max: number, to = url): Pool & AsyncDisposable =>
  openPool({ url: to, max, applicationName: "test", connectTimeoutMs: 5_000, onError: () => {} });
const statement = (text: string): Statement => ({ name: text, text, values: [] });
const one = statement("SELECT 1 AS one");

/** Takes the only connection of a pool until it is disposed. */
async function hold(pool: Pool): Promise<AsyncDisposable> {
  const admin = await openSession({
    url,
    applicationName: "holder",
    connectTimeoutMs: 5_000,
    onError: () => {},
  });
  await admin.query("SELECT pg_advisory_lock(1)");
  const held = runTransaction(pool, { timeoutMs }, [statement("SELECT pg_advisory_xact_lock(1)")]);
  await expect
    .poll(() => admin.query("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
    .toMatchObject({ rowCount: 1 });
  return {
    async [Symbol.asyncDispose]() {
      await admin[Symbol.asyncDispose]();
      await held;
    },
  };
}

const failure = (running: Promise<unknown>): Promise<unknown> =>
  running.then(
    () => expect.fail("it succeeded"),
    (error: unknown) => error,
  );

test("tenants take turns at the connection, and so does work of no tenant", async () => {
  await using pool = open(1);
  const order: string[] = [];
  const run = async (name: string): Promise<void> => {
    await (name === "no tenant"
      ? runTransaction(pool, { timeoutMs }, [one])
      : runForTenant(pool, { tenantId: name, timeoutMs }, [one]));
    order.push(name);
  };
  const running: Promise<void>[] = [];
  {
    await using _held = await hold(pool);
    for (let index = 0; index < 4; index++) running.push(run("flood"));
    running.push(run("quiet"), run("quiet"), run("no tenant"));
    expect([queueOf(pool).waitingCount, pool.waitingCount]).toEqual([7, 0]);
  }
  await Promise.all(running);
  expect(order).toEqual(["flood", "quiet", "no tenant", "flood", "quiet", "flood", "flood"]);
});

test("who waits beyond their time, has gone, or is one too many leaves without a connection, and says so", async () => {
  await using pool = open(1);
  const caller = new AbortController();
  const gone = new Error("gone");
  await using _held = await hold(pool);
  const { signal } = caller;
  const aborted = failure(runForTenant(pool, { tenantId: "acme", timeoutMs, signal }, [one]));
  const late = failure(runForTenant(pool, { tenantId: "acme", timeoutMs: 20 }, [one]));
  caller.abort(gone);
  expect([await aborted, await late]).toEqual([gone, expect.any(TimeBudgetSpentError)]);
  expect(await failure(runForTenant(pool, { tenantId: "acme", timeoutMs, signal }, [one]))).toBe(gone);

  const flood = Array.from({ length: waitingMaxPerConnection + 1 }, () =>
    runForTenant(pool, { tenantId: "flood", timeoutMs: 1_000 }, [one]).catch((error: unknown) => error),
  );
  expect(await flood.at(-1)).toBeInstanceOf(QueueFullError);
  expect(queueOf(pool).waitingCount).toBe(waitingMaxPerConnection);
  await Promise.all(flood);
  expect([queueOf(pool).waitingCount, queueOf(pool).workingCount]).toEqual([0, 1]);
});

test.each([
  ["nobody listens", ""],
  ["pg throws, for want of a certificate", "?sslrootcert=/nowhere/root.pem"],
])("nobody who cannot connect, as %s, keeps a slot", async (_why, query) => {
  await using pool = open(2, `postgresql://nobody@127.0.0.1:1/none${query}`);
  const attempts = Array.from({ length: 20 }, () =>
    failure(runForTenant(pool, { tenantId: "acme", timeoutMs }, [one])),
  );
  for (const error of await Promise.all(attempts)) expect(error).toBeInstanceOf(NotConnectedError);
  expect([queueOf(pool).workingCount, queueOf(pool).waitingCount]).toEqual([0, 0]);
});

test("who waits as the pool closes is told so, however many they are", async () => {
  const pool = open(1);
  const waiting: Promise<unknown>[] = [];
  {
    await using _held = await hold(pool);
    for (let index = 0; index < waitingMaxPerConnection; index++)
      waiting.push(failure(runForTenant(pool, { tenantId: "acme", timeoutMs }, [one])));
    void pool[Symbol.asyncDispose]();
  }
  for (const error of await Promise.all(waiting)) expect(error).toBeInstanceOf(NotConnectedError);
  await pool[Symbol.asyncDispose]();
});

/** Whoever has little time may still be opening a connection, or the wait for a turn, when it is over. */
const outOfTime = [StatementTimeoutError, NotConnectedError, TimeBudgetSpentError];
/** How a transaction goes, and how it may end. */
const ways = {
  succeeds: { text: "SELECT 1", ends: [] },
  "is refused": { text: "SELECT 1 / 0", ends: [DatabaseError] },
  "takes too long": { text: "SELECT pg_sleep(5)", timeoutMs: 30, ends: outOfTime },
  "has hardly any time": { text: "SELECT 1", timeoutMs: 1, ends: [...outOfTime, OutcomeUnknownError] },
  "loses its connection": {
    text: "SELECT pg_terminate_backend(pg_backend_pid())",
    ends: [OutcomeUnknownError],
  },
} as const;

const transaction = fc.record({
  way: fc.constantFrom(...(Object.keys(ways) as (keyof typeof ways)[])),
  tenantId: fc.constantFrom("acme", "globex", "initech"),
  /** After how many others have ended, or have been begun, the caller goes; absent: they stay. */
  goesAfter: fc.option(fc.nat({ max: 20 }), { nil: undefined }),
});

test("whatever transactions end in, and whenever their callers go, every slot and every connection is to be had again", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(transaction, { minLength: 1, maxLength: 40 }), async (transactions) => {
      await using pool = open(2);
      const callers = transactions.map(({ goesAfter }) => ({ goesAfter, caller: new AbortController() }));
      let events = 0;
      const tick = (): void => {
        events += 1;
        for (const { goesAfter, caller } of callers) if (goesAfter === events) caller.abort(gone);
        expect(pool.totalCount).toBeLessThanOrEqual(2);
        expect(pool.waitingCount, "waits in the pool").toBeLessThanOrEqual(2);
      };
      const gone = new Error("gone");
      const ends = transactions.map(async ({ way, tenantId }, index) => {
        const { text, ends: expected, ...own } = { timeoutMs, ...ways[way] };
        const options = { tenantId, signal: callers[index]?.caller.signal, ...own };
        try {
          await runForTenant(pool, options, [statement(text)]);
        } catch (error) {
          if (error !== gone)
            expect(
              expected.some((kind) => error instanceof kind),
              String(error),
            ).toBe(true);
        }
        tick();
      });
      for (const _ of transactions) tick();
      await Promise.all(ends);

      const queue = queueOf(pool);
      await expect.poll(() => [queue.workingCount, queue.waitingCount]).toEqual([0, 0]);
      await Promise.all([1, 2].map(() => runForTenant(pool, { tenantId: "acme", timeoutMs }, [one])));
      expect(pool.waitingCount).toBe(0);
    }),
    { numRuns: 40 },
  );
});
