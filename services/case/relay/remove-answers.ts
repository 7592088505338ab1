import { setTimeout as pause } from "node:timers/promises";
import type pg from "pg";
import { createBell } from "#libs/bell/bell.ts";
import { runTransaction } from "#libs/pg/tenant-transaction.ts";
import { endsWithin } from "#libs/resilience/ends-within.ts";
import type { Log } from "#libs/telemetry/log.ts";
import { listExpiredAnswers, removeExpiredAnswers, toAnswerKey } from "../store/expired-answers.ts";

const batchCountMax = 500;
/** Between two batches: removing is never in a hurry, and vacuum keeps up. */
const batchPauseMs = 100;
/** Between two rounds, on average. */
const roundEveryMs = 60_000;
const statementTimeoutMs = 10_000;
/** How long disposing waits for the batch under way; its statement ends by itself, or with its connection. */
const stopMs = 1_000;

export interface RemovalOptions {
  /** Of the relay's role. */
  readonly pool: pg.Pool;
  readonly now: () => Date;
  readonly log: Log;
}

/**
 * Removes expired answers for as long as it is not disposed, in small batches, each of one tenant. Any number of processes may:
 * what another has removed is passed over, and their rounds drift apart by chance. A failure is logged and tried again in the
 * next round. Disposing waits a second for the batch under way.
 */
export function startRemoval(options: RemovalOptions): AsyncDisposable {
  const stopping = new AbortController();
  const ended = run(options, stopping.signal);
  return {
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await endsWithin(stopMs, ended);
    },
  };
}

async function run(options: RemovalOptions, stopping: AbortSignal): Promise<void> {
  using bell = createBell();
  while (!stopping.aborted) {
    try {
      while ((await removeBatch(options)) && !stopping.aborted) await pause(batchPauseMs);
    } catch (error) {
      options.log.warn({ err: error }, "expired answers could not be removed");
    }
    await bell.wait(roundEveryMs * (0.5 + Math.random()), stopping);
  }
}

/** Removes one batch; true when there may be more. */
async function removeBatch({ pool, now }: RemovalOptions): Promise<boolean> {
  const at = now();
  const options = { timeoutMs: statementTimeoutMs };
  const [found] = await runTransaction(pool, options, [listExpiredAnswers(at, batchCountMax)]);
  const keys = (found?.rows ?? []).map(toAnswerKey);
  for (const [tenantId, own] of Map.groupBy(keys, (key) => key.tenantId)) {
    await runTransaction(pool, options, [removeExpiredAnswers(tenantId, own, at)]);
  }
  return keys.length === batchCountMax;
}
