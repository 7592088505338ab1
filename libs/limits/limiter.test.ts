import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { systemClock } from "#libs/resilience/clock.ts";
import { createLog } from "#libs/telemetry/log.ts";
import { cloneAuditDatabase, cloneCaseDatabase, type TestDatabase } from "#test/support/databases.ts";
import { expectNoLeaks } from "#test/support/leak-check.ts";
import { createManualClock } from "#test/support/manual-clock.ts";
import { openSuperuser } from "#test/support/superuser.ts";
import type { Caller, CallRules } from "./caller.ts";
import { createLimiter, type Limiter } from "./limiter.ts";
import { createMemoryBuckets } from "./memory-buckets.ts";
import { openPostgresBuckets } from "./postgres-buckets.ts";

expectNoLeaks();

/* One suite for both stores, in which time stands still but for what a test lets pass. */

interface Store {
  readonly limiter: Limiter;
  /** Lets time pass, for whatever the store goes by. */
  pass(ms: number): Promise<void>;
}

/** What a real clock lets pass during a test is nothing beside it. */
const slow = 1_000_000;
/** A token in a million milliseconds, and in a quarter of that for the tenant. */
const rules: CallRules = {
  principal: { perSecond: 1_000 / slow, burst: 3 },
  tenant: { perSecond: 4_000 / slow, burst: 5 },
};
/** Longer than any answer takes. */
const timeoutMs = 20_000;
const signal = new AbortController().signal;
const log = createLog({ service: "limits", version: "test", commit: "test", level: "silent" });

function inMemory(): Promise<Store> {
  const clock = createManualClock();
  const { take } = createMemoryBuckets(clock, rules);
  return Promise.resolve({ limiter: createLimiter(take), pass: (ms) => clock.advance(ms) });
}

let databases: Record<"case" | "audit", TestDatabase>;
const cloned = new AsyncDisposableStack();
beforeAll(async () => {
  databases = { case: cloned.use(await cloneCaseDatabase()), audit: cloned.use(await cloneAuditDatabase()) };
});
afterAll(() => cloned.disposeAsync());

const inPostgres = (kind: keyof typeof databases) => async (): Promise<Store> => {
  const opened = new AsyncDisposableStack();
  onTestFinished(() => opened.disposeAsync());
  const database = databases[kind];
  const superuser = opened.use(await openSuperuser(database.superuserUrl));
  await superuser.query("TRUNCATE rate_buckets");
  const clock = createManualClock();
  const buckets = opened.use(
    openPostgresBuckets({ databaseUrl: database.appUrl, rules, timeoutMs, clock, log }),
  );
  const never = () => Promise.reject(new Error("the database was to count"));
  return {
    limiter: createLimiter(never, buckets),
    async pass(ms) {
      await clock.advance(ms);
      await superuser.query(`UPDATE rate_buckets SET full_at = full_at - $1 * interval '1 ms'`, [ms]);
    },
  };
};

const stores = [
  ["memory", inMemory],
  ["the case database", inPostgres("case")],
  ["the audit database", inPostgres("audit")],
] as const;

const ada: Caller = { tenantId: "acme", principalId: "ada" };
const ben: Caller = { tenantId: "acme", principalId: "ben" };
const stranger: Caller = { tenantId: "zeta", principalId: "ada" };

/** How many of `count` calls, one after the other, may be made. */
async function countTaken({ limiter }: Store, caller: Caller, count: number): Promise<number> {
  let taken = 0;
  for (let made = 0; made < count; made++) if ((await limiter.count(caller, signal)) === 0) taken += 1;
  return taken;
}

test.each(stores)("in %s a principal may make its burst of calls, and others theirs", async (_, open) => {
  const store = await open();
  expect(await countTaken(store, ada, 5)).toBe(3);
  expect(await countTaken(store, ben, 1)).toBe(1);
  expect(await countTaken(store, stranger, 5)).toBe(3);
});

test.each(stores)(
  "in %s the principals of a tenant share its burst, and those of no other",
  async (_, open) => {
    const store = await open();
    expect(await countTaken(store, ada, 3)).toBe(3);
    expect(await countTaken(store, ben, 3)).toBe(2);
    expect(await countTaken(store, { ...ada, principalId: "cleo" }, 1)).toBe(0);
    expect(await countTaken(store, stranger, 3)).toBe(3);
  },
);

test.each(stores)("in %s a call that is refused takes nothing of the tenant's bucket", async (_, open) => {
  const store = await open();
  expect(await countTaken(store, ada, 50)).toBe(3);
  expect(await countTaken(store, ben, 3)).toBe(2);
});

test.each(stores)(
  "in %s whoever waits for as long as was said may call once, and not before",
  async (_, open) => {
    const store = await open();
    await countTaken(store, ada, 3);
    const waitMs = await store.limiter.count(ada, signal);
    expect(waitMs).toBeGreaterThan(0.9 * slow);
    expect(waitMs).toBeLessThanOrEqual(slow);
    await store.pass(waitMs / 2);
    expect(await countTaken(store, ada, 1)).toBe(0);
    await store.pass(waitMs / 2);
    expect(await countTaken(store, ada, 2)).toBe(1);
  },
);

test.each(stores)("in %s the wait for the tenant's bucket is told as for the own", async (_, open) => {
  const store = await open();
  await countTaken(store, ada, 3);
  await countTaken(store, ben, 2);
  const waitMs = await store.limiter.count(ben, signal);
  expect(waitMs).toBeGreaterThan((0.9 * slow) / 4);
  expect(waitMs).toBeLessThanOrEqual(slow / 4);
  await store.pass(waitMs);
  expect(await countTaken(store, ben, 1)).toBe(0); // The refused call before has cost the last token of its own.
  expect(await countTaken(store, { ...ada, principalId: "cleo" }, 2)).toBe(1);
});

test.each(stores)(
  "in %s a bucket fills up to its burst and no further, however long nobody calls",
  async (_, open) => {
    const store = await open();
    await countTaken(store, ada, 3);
    await store.pass(100 * slow);
    expect(await countTaken(store, ada, 9)).toBe(3);
  },
);

/** Which a limiter in windows does not hold: it lets twice as many through at the seam of two. */
test.each(stores)(
  "in %s no stretch of time has more calls than the burst and what came in",
  async (_, open) => {
    const store = await open();
    let taken = await countTaken(store, ada, 9);
    for (let step = 0; step < 12; step++) {
      await store.pass(slow / 4);
      taken += await countTaken(store, ada, 9);
    }
    expect(taken).toBe(3 + 3);
  },
);

test.each(stores)(
  "in %s of calls made at once as many may be made as one after the other",
  async (_, open) => {
    const { limiter } = await open();
    const waits = await Promise.all(
      Array.from({ length: 40 }, (_call, index) => limiter.count(index % 2 === 0 ? ada : ben, signal)),
    );
    expect(waits.filter((waitMs) => waitMs === 0)).toHaveLength(5);
  },
);

/** Each pair would be one where tenant and principal are only put together. */
test.each(stores)("in %s no two callers share a bucket because of their names", async (_, open) => {
  const store = await open();
  for (const [tenantId, principalId] of [
    ["a", "b/c"],
    ["b", "a/c"],
    ["c", "c"],
    ["a-b", "c"],
    ["d", "-b/c"],
    ["e", "a-b"],
    ["a-b-c", "/"],
    ["f", "''"],
  ] as const) {
    const name = `${tenantId} ${principalId}`;
    expect(await countTaken(store, { tenantId, principalId }, 4), name).toBe(3);
  }
});

test("two processes that share their buckets have one limit, and two that do not have one each", async () => {
  const options = { databaseUrl: databases.case.appUrl, rules, timeoutMs, clock: systemClock, log };
  await using first = openPostgresBuckets(options);
  await using second = openPostgresBuckets(options);
  const inOwnMemory = () => createMemoryBuckets(systemClock, rules).take;
  const shared = [first, second].map((buckets) => createLimiter(inOwnMemory(), buckets));
  const alone = [1, 2].map(() => createLimiter(inOwnMemory()));
  const elsewhere: Caller = { tenantId: "elsewhere", principalId: "ada" }; // Counted nowhere yet.
  const countAtBoth = async (limiters: readonly Limiter[]): Promise<number> => {
    const waits = await Promise.all(
      Array.from({ length: 20 }, (_, index) => limiters[index % 2]!.count(elsewhere, signal)),
    );
    return waits.filter((waitMs) => waitMs === 0).length;
  };
  expect(await countAtBoth(shared)).toBe(3);
  expect(await countAtBoth(alone)).toBe(6);
});
