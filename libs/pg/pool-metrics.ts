import { metrics, type ObservableResult } from "@opentelemetry/api";
import type { Pool } from "pg";
import { queueOf } from "./check-out.ts";

/** Tells how busy a pool is under the name `pool`, until it is disposed. */
export function watchPool(watched: Pool, pool: string): Disposable {
  const meter = metrics.getMeter("pg");
  const inUse = meter.createObservableGauge("db.pool.in_use", {
    description: "Connections that somebody uses, by pool",
  });
  const waiting = meter.createObservableGauge("db.pool.waiting", {
    description: "Who waits for a turn at a connection, by pool",
  });
  const observeInUse = (result: ObservableResult): void =>
    result.observe(watched.totalCount - watched.idleCount, { pool });
  const observeWaiting = (result: ObservableResult): void =>
    result.observe(queueOf(watched).waitingCount + watched.waitingCount, { pool });
  inUse.addCallback(observeInUse);
  waiting.addCallback(observeWaiting);
  return {
    [Symbol.dispose]() {
      inUse.removeCallback(observeInUse);
      waiting.removeCallback(observeWaiting);
    },
  };
}
