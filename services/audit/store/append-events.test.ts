import { createHash, randomUUID } from "node:crypto";
import { v7 } from "uuid";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { openPool } from "#libs/pg/pool.ts";
import { openSession } from "#libs/pg/session.ts";
import { runForTenant } from "#libs/pg/tenant-transaction.ts";
import { cloneAuditDatabase, type TestDatabase } from "#test/support/databases.ts";
import { planAppend } from "../domain/append.ts";
import { appendEvents, type Candidate } from "./append-events.ts";
import { findEvent } from "./events.ts";

const options = { tenantId: "acme", timeoutMs: 20_000 };
let database: TestDatabase;
beforeAll(async () => {
  database = await cloneAuditDatabase();
});
afterAll(() => database[Symbol.asyncDispose]());

/** A subject's first event. */
function makeCandidate(): Candidate {
  const [eventId, subject] = [v7(), randomUUID()];
  const bytes = Buffer.from(eventId);
  const judged = { eventId, source: "a/b", subject, sequence: 1n, previousDigest: "" };
  return {
    ...judged,
    bytes,
    digest: createHash("sha256").update(bytes).digest("hex"),
    event: {
      ...judged,
      type: "a.b.c",
      tenantId: options.tenantId,
      actorId: "ada",
      onBehalfOf: "",
      requestId: "",
      correlationId: "",
      traceparent: "",
      occurredAtMicros: 0n,
      recordedAtMicros: 0n,
    },
  };
}

/** Rows and index entries of `events` that anybody has read so far. */
async function readsOfEvents(): Promise<number> {
  await using session = await openSession({
    url: database.superuserUrl,
    applicationName: "test",
    connectTimeoutMs: 5_000,
    onError: () => {}, // Its query fails with it.
  });
  await vi.waitFor(
    async () => {
      const text = "SELECT FROM pg_stat_activity WHERE datname = $1 AND application_name = 'young'";
      // A backend tells what it did when it ends.
      expect((await session.query(text, [database.name])).rowCount).toBe(0);
    },
    { timeout: 5_000, interval: 20 },
  );
  const { rows } = await session.query<{ count: number }>(`
    SELECT ((SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'events')
            + (SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'events'))::int AS count`);
  return rows[0]?.count ?? Number.NaN;
}

test("plans that were made while the log was young do not read all of it later", async () => {
  const singles = 20;
  const batches = 15;
  const batchSize = 200;
  const finds = 200;
  {
    await using pool = openPool({
      url: database.appUrl,
      max: 1, // All plans are this connection's.
      applicationName: "young",
      connectTimeoutMs: 5_000,
      onError: () => {}, // Told to whoever uses the connection.
    });
    const append = (candidates: readonly Candidate[]) =>
      appendEvents(pool, options, candidates, (log) => planAppend(log, candidates));
    const find = (eventId: string) =>
      runForTenant(pool, { ...options, planEachTime: true }, [findEvent("acme", eventId)]);

    for (let i = 0; i < singles; i++) {
      const candidate = makeCandidate();
      await append([candidate]);
      await find(candidate.eventId);
    }
    for (let i = 0; i < batches; i++) {
      const { appended } = await append(Array.from({ length: batchSize }, makeCandidate));
      expect(appended).toHaveLength(batchSize);
    }
    for (let i = 0; i < finds; i++) await find(v7());
  }
  const stored = singles + batches * batchSize;
  expect(await readsOfEvents()).toBeLessThan(2 * stored);
});
