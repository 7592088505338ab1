import { type BatchObservableResult, metrics } from "@opentelemetry/api";
import type pg from "pg";
import { runTransaction } from "#libs/pg/tenant-transaction.ts";
import { millisecondsOf } from "../domain/event-time.ts";
import {
  countDeadLetters,
  countPending,
  type DeadLetterCountRow,
  type PendingRow,
} from "../store/backlog.ts";

/** However often somebody asks, the database is asked once in this time; also when it did not answer. */
const keptMs = 2_000;
const readTimeoutMs = 800;

export interface BacklogOptions {
  /** Of the relay's role, which sees every tenant's. */
  readonly pool: pg.Pool;
  readonly now: () => Date;
}

type Backlog = PendingRow & DeadLetterCountRow;

/**
 * Tells what waits for delivery, until it is disposed. While the database cannot tell, neither is told: the gauges are absent. What
 * waits behind a dead letter is counted, but has no age: it waits for an operator.
 */
export function watchBacklog({ pool, now }: BacklogOptions): Disposable {
  const meter = metrics.getMeter("caseflow.relay");
  const pending = meter.createObservableGauge("outbox.pending", {
    description: "Events that wait for delivery",
  });
  const oldest = meter.createObservableGauge("outbox.oldest_pending_age", {
    description:
      "How long ago the first event was recorded that waits behind no dead letter; 0 when none does",
    unit: "s",
  });
  const deadLetters = meter.createObservableGauge("dead_letters", {
    description: "Events whose delivery was given up, until somebody acts",
  });
  const gauges = [pending, oldest, deadLetters];

  let kept: { readonly at: number; readonly backlog: Promise<Backlog | undefined> } | undefined;
  async function look(): Promise<Backlog> {
    const options = { timeoutMs: readTimeoutMs, readOnly: true, planEachTime: true };
    const [waiting, dead] = await runTransaction(pool, options, [countPending(), countDeadLetters()]);
    return { ...waiting?.rows[0], ...dead?.rows[0] }; // Both have their one row.
  }
  const current = (): Promise<Backlog | undefined> => {
    const at = performance.now();
    if (!kept || at - kept.at > keptMs) kept = { at, backlog: look().catch(() => undefined) };
    return kept.backlog;
  };
  const observe = async (result: BatchObservableResult): Promise<void> => {
    const row = await current();
    if (!row) return;
    const { oldest_event_id: first } = row;
    const ageMs = first === null ? 0 : now().getTime() - millisecondsOf(first);
    result.observe(pending, row.pending);
    result.observe(oldest, Math.max(0, ageMs) / 1_000);
    result.observe(deadLetters, row.dead_letters);
  };
  meter.addBatchObservableCallback(observe, gauges);
  return { [Symbol.dispose]: () => meter.removeBatchObservableCallback(observe, gauges) };
}
