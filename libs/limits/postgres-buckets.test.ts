import { afterEach, beforeEach, expect, test } from "vitest";
import { openPool } from "#libs/pg/pool.ts";
import { runForTenant } from "#libs/pg/tenant-transaction.ts";
import { createLog } from "#libs/telemetry/log.ts";
import { cloneCaseDatabase, type CaseDatabase } from "#test/support/databases.ts";
import { expectNoLeaks } from "#test/support/leak-check.ts";
import { createManualClock, type ManualClock } from "#test/support/manual-clock.ts";
import { type PostgresProxy, startPostgresProxy } from "#test/support/postgres-proxy.ts";
import { openSuperuser } from "#test/support/superuser.ts";
import { findBucket, removeFull, takeTokens } from "./bucket-statements.ts";
import { createLimiter, type Limiter } from "./limiter.ts";
import { createMemoryBuckets } from "./memory-buckets.ts";
import { openPostgresBuckets, type PostgresBuckets } from "./postgres-buckets.ts";
import { bucketTimes } from "./token-bucket.ts";

expectNoLeaks();

/* What becomes of a limit that replicas share when its database is slow or away, and of the rows that it leaves. */

/** One token in a million milliseconds. */
const rule = { perSecond: 0.001, burst: 3 };
const rules = { principal: rule, tenant: { ...rule, burst: 100 } };
const ada = { tenantId: "acme", principalId: "ada" };
const signal = new AbortController().signal;
/** How long the circuit stays open. */
const openMs = 1_000;

let opened: AsyncDisposableStack;
let database: CaseDatabase;
let proxy: PostgresProxy;
let superuser: Awaited<ReturnType<typeof openSuperuser>>;
let clock: ManualClock;
let told: string[];

beforeEach(async () => {
  opened = new AsyncDisposableStack();
  database = opened.use(await cloneCaseDatabase());
  superuser = opened.use(await openSuperuser(database.superuserUrl));
  proxy = opened.use(await startPostgresProxy(database.appUrl));
  clock = createManualClock();
  told = [];
});
afterEach(() => opened.disposeAsync());

function open(
  timeoutMs: number,
  by = proxy,
): { readonly limiter: Limiter; readonly buckets: PostgresBuckets } {
  const destination = { write: (line: string) => void told.push(String(JSON.parse(line).msg)) };
  const log = createLog({ service: "limits", version: "test", commit: "test", level: "info", destination });
  const buckets = opened.use(openPostgresBuckets({ databaseUrl: by.tcpUrl, rules, timeoutMs, clock, log }));
  return { limiter: createLimiter(createMemoryBuckets(clock, rules).take, buckets), buckets };
}

async function countTaken(limiter: Limiter, count: number, caller = ada): Promise<number> {
  const waits: number[] = [];
  for (let made = 0; made < count; made++) waits.push(await limiter.count(caller, signal));
  return waits.filter((waitMs) => waitMs === 0).length;
}

const inMemory = "calls are counted in memory: the shared limits do not answer";
const inDatabase = "calls are counted in the shared limits again";

test("while the database is away calls are counted in memory, which is told once", async () => {
  const way = await startPostgresProxy(database.appUrl);
  const { limiter } = open(20_000, way);
  expect(await countTaken(limiter, 2)).toBe(2);
  await way[Symbol.asyncDispose]();
  expect(await countTaken(limiter, 20)).toBe(3);
  await clock.advance(openMs);
  expect(await countTaken(limiter, 20)).toBe(0); // One of them has asked again.
  expect(told).toEqual([inMemory]);
});

test("a database that fails is asked again by one call at a time, and counts again once it answers", async () => {
  const { limiter } = open(20_000);
  await superuser.query("ALTER TABLE rate_buckets RENAME TO elsewhere");
  expect(await countTaken(limiter, 20)).toBe(3);
  proxy.reset();
  expect(await countTaken(limiter, 20)).toBe(0);
  expect(proxy.writes()).toBe(0); // Nobody asks a database that is known not to answer.
  await clock.advance(openMs);
  await superuser.query("ALTER TABLE elsewhere RENAME TO rate_buckets");
  expect(await countTaken(limiter, 20)).toBe(3); // Its bucket was never touched.
  expect(told).toEqual([inMemory, inDatabase]);
});

test("a call does not wait for a database that is busy with something else, and is counted in memory", async () => {
  const { limiter } = open(50);
  await superuser.query("BEGIN; LOCK TABLE rate_buckets IN ACCESS EXCLUSIVE MODE");
  expect(await countTaken(limiter, 20)).toBe(3);
  expect(told).toEqual([inMemory]);
  await superuser.query("ROLLBACK");
});

test("a flood of refused calls does not become one of statements", async () => {
  const { limiter } = open(20_000);
  expect(await countTaken(limiter, 4)).toBe(3);
  proxy.reset();
  expect(await countTaken(limiter, 1_000)).toBe(0);
  expect(proxy.writes()).toBe(0);
  expect(await countTaken(limiter, 1, { ...ada, principalId: "ben" })).toBe(1);
});

test("rows of buckets that are full again are removed, and no others", async () => {
  const { limiter, buckets } = open(20_000);
  const full = { tenantId: "acme", principalId: "ben" };
  const other = { tenantId: "zeta", principalId: "ada" };
  for (const caller of [ada, full, other]) await limiter.count(caller, signal);
  const rows = async () =>
    (await superuser.query("SELECT tenant_id, principal_id FROM rate_buckets ORDER BY 1, 2")).rows.map(
      (row) => `${row.tenant_id}/${row.principal_id}`,
    );
  await buckets.sweep();
  expect(await rows()).toEqual(["acme/", "acme/ada", "acme/ben", "zeta/", "zeta/ada"]);
  await superuser.query(
    "UPDATE rate_buckets SET full_at = now() - interval '1 s' WHERE principal_id <> 'ada'",
  );
  await buckets.sweep();
  expect(await rows()).toEqual(["acme/ada", "zeta/ada"]);
  await superuser.query("UPDATE rate_buckets SET full_at = now() - interval '1 s'");
  await buckets.sweep(); // Also of tenants that nobody has called since.
  expect(await rows()).toEqual([]);
});

test("as one tenant nothing can be taken of another's bucket, and no row of it removed", async () => {
  const { limiter } = open(20_000);
  await limiter.count(ada, signal);
  const rows = async () => (await superuser.query("SELECT * FROM rate_buckets ORDER BY 1, 2")).rows;
  const before = await rows();
  await using pool = openPool({
    url: database.appUrl,
    max: 1,
    applicationName: "stranger",
    connectTimeoutMs: 20_000,
    onError: () => {},
  });
  const asStranger = { tenantId: "zeta", timeoutMs: 20_000 };
  const times = bucketTimes({ perSecond: 1_000, burst: 1_000 });
  const take = runForTenant(pool, asStranger, [takeTokens("acme", "ada", times, times)]);
  await expect(take).rejects.toThrow(/row-level security/);
  await superuser.query("UPDATE rate_buckets SET full_at = full_at - interval '1 year'");
  const [removed, found] = await runForTenant(pool, asStranger, [removeFull("acme"), findBucket("acme")]);
  expect([removed!.rowCount, found!.rowCount]).toEqual([0, 0]);
  expect(await rows()).toHaveLength(before.length);
});
