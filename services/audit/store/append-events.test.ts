import type { Pool } from "pg";
import { v7 } from "uuid";
import { expect, test, vi } from "vitest";
import { openPool } from "#libs/pg/pool.ts";
import { openSession } from "#libs/pg/session.ts";
import { runForTenant } from "#libs/pg/tenant-transaction.ts";
import { makeCandidate } from "#test/support/candidate.ts";
import { cloneAuditDatabase, type TestDatabase } from "#test/support/databases.ts";
import { planAppend, type LogState } from "../domain/append.ts";
import { appendEvents, type Candidate } from "./append-events.ts";
import { findEvent } from "./events.ts";

const options = { tenantId: "acme", timeoutMs: 20_000 };

/** Rows and index entries of the log and of its heads that anybody has read so far. */
async function readsSoFar(database: TestDatabase): Promise<number> {
  await using session = await openSession({
    url: database.superuserUrl,
    applicationName: "test",
    connectTimeoutMs: 5_000,
    onError: () => {}, // Its query fails with it.
  });
  await vi.waitFor(
    async () => {
      const text = "SELECT FROM pg_stat_activity WHERE datname = $1 AND application_name = 'appender'";
      // A backend tells what it did when it ends.
      expect((await session.query(text, [database.name])).rowCount).toBe(0);
    },
    { timeout: 5_000, interval: 20 },
  );
  const { rows } = await session.query<{ count: number }>(`
    SELECT ((SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname IN ('events', 'subject_heads'))
            + (SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname IN ('events', 'subject_heads')))::int
           AS count`);
  return rows[0]?.count ?? Number.NaN;
}

/** One connection, so that all who use it share its plans. */
function openAppender({ appUrl: url }: TestDatabase): ReturnType<typeof openPool> {
  return openPool({
    url,
    max: 1,
    applicationName: "appender",
    connectTimeoutMs: 5_000,
    onError: () => {}, // Told to whoever uses the connection.
  });
}

/** Appends as many new events, in one batch, and returns them. */
async function append(pool: Pool, count: number): Promise<readonly Candidate[]> {
  const candidates = Array.from({ length: count }, () => makeCandidate());
  const { appended } = await appendEvents(pool, options, candidates, (log) => planAppend(log, candidates));
  expect(appended).toHaveLength(count);
  return candidates;
}

const singles = 20;
const batches = 15;
const batchSize = 200;

// So few that each index is as good; so many that the right one is a page deeper than others; and beyond that.
test.each([0, 230, 400])(
  "plans that were made when a log held %i events do not read all of it to append more",
  async (age) => {
    await using database = await cloneAuditDatabase();
    {
      await using pool = openAppender(database);
      await append(pool, age);
    }
    const before = await readsSoFar(database);
    {
      await using pool = openAppender(database);
      for (let i = 0; i < singles; i++) await append(pool, 1);
      for (let i = 0; i < batches; i++) await append(pool, batchSize);
    }
    expect((await readsSoFar(database)) - before).toBeLessThan(singles + batches * batchSize);
  },
);

test("plans that were made while the log was young do not read all of it to find an event", async () => {
  const finds = 200;
  await using database = await cloneAuditDatabase();
  {
    await using pool = openAppender(database);
    const find = (eventId: string) =>
      runForTenant(pool, { ...options, planEachTime: true }, [findEvent("acme", eventId)]);
    for (let i = 0; i < singles; i++) {
      for (const { eventId } of await append(pool, 1)) await find(eventId);
    }
    for (let i = 0; i < batches; i++) await append(pool, batchSize);
    for (let i = 0; i < finds; i++) await find(v7());
  }
  expect(await readsSoFar(database)).toBeLessThan(singles + batches * batchSize);
});

test("what was appended before is found again, each event and each subject's last, among others of the same tenant", async () => {
  await using database = await cloneAuditDatabase();
  await using pool = openAppender(database);
  await append(pool, 50);
  const known = await append(pool, 3);
  await append(pool, 50);
  let seen: LogState | undefined;
  const asked = [...known, ...known, makeCandidate()];
  await appendEvents(pool, options, asked, (log) => {
    seen = log;
    return planAppend(log, []);
  });
  const inAnyOrder = (items: readonly unknown[] = []) => [items.length, new Set(items)];
  expect(inAnyOrder(seen?.recorded)).toEqual(
    inAnyOrder(known.map(({ eventId, digest }, at) => ({ eventId, digest, leafIndex: BigInt(50 + at) }))),
  );
  expect(inAnyOrder(seen?.heads)).toEqual(
    inAnyOrder(
      known.map(({ source, subject, digest }) => ({
        source,
        subject,
        lastSequence: 1n,
        lastDigest: digest,
      })),
    ),
  );
});
