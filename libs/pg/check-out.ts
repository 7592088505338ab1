import type { Pool, PoolClient } from "pg";
import { NotConnectedError } from "./transaction-errors.ts";

/**
 * Takes a connection out of the pool, waiting for one at most `waitMs`.
 *
 * Throws `NotConnectedError` when there is none by then, when a new one cannot be opened and when the pool is closed,
 * and the signal's reason when it aborts first. A connection that comes too late goes straight back to the pool.
 */
export function checkOut(pool: Pool, waitMs: number, signal?: AbortSignal): Promise<PoolClient> {
  return new Promise((resolve, reject) => {
    let waiting = true;
    const stopWaiting = () => {
      waiting = false;
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    };
    const fail = (error: unknown) => {
      stopWaiting();
      reject(error);
    };
    const onAbort = () => fail(signal?.reason);
    const timer = setTimeout(() => fail(new NotConnectedError(`no connection within ${waitMs} ms`)), waitMs);
    signal?.addEventListener("abort", onAbort, { once: true });

    pool.connect((cause, client) => {
      if (!waiting) return client?.release();
      if (!client) return fail(new NotConnectedError("cannot connect to the database", { cause }));
      stopWaiting();
      resolve(client);
    });
  });
}
