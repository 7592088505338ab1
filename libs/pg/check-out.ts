import type { Pool, PoolClient } from "pg";
import { createFairQueue, type FairQueue } from "./fair-queue.ts";
import { NotConnectedError, QueueFullError, TimeBudgetSpentError } from "./transaction-errors.ts";

export interface CheckOutOptions {
  /** Whose turn is waited for. Empty: of work that is no tenant's, which has its turn as a tenant has. */
  readonly tenant: string;
  readonly waitMs: number;
  readonly signal: AbortSignal | undefined;
}

export interface CheckedOut {
  readonly client: PoolClient;
  /** To be called once. */
  giveBack(destroy: boolean): void;
}

/** A thousand before a pool of twenty: what is behind them waits for a second where a transaction takes 20 ms. */
export const waitingMaxPerConnection = 50;

const queues = new WeakMap<Pool, FairQueue>();

/** The queue before a pool: as many work as it may have connections, so that hardly anybody waits inside of it. */
export function queueOf(pool: Pool): FairQueue {
  let queue = queues.get(pool);
  if (!queue) {
    const { max } = pool.options;
    queue = createFairQueue({ slotCount: max, waitingMax: max * waitingMaxPerConnection });
    queues.set(pool, queue);
  }
  return queue;
}

/**
 * Takes a connection out of the pool, waiting for a turn and for the connection at most `waitMs`.
 *
 * Throws `QueueFullError` when too many wait, `TimeBudgetSpentError` when no turn came in time, `NotConnectedError` when there
 * is no connection by then, when a new one cannot be opened and when the pool is closed; and the signal's reason when it
 * aborts first. A connection that comes too late goes straight back to the pool, and only then does its slot.
 */
export function checkOut(pool: Pool, { tenant, waitMs, signal }: CheckOutOptions): Promise<CheckedOut> {
  const queue = queueOf(pool);
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    let isAwaited = true;
    const stopWaiting = () => {
      isAwaited = false;
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    };
    const fail = (error: unknown) => {
      stopWaiting();
      reject(error);
    };
    const giveUp = (error: unknown) => {
      fail(error);
      if (!place.isWorking) place.leave(); // Otherwise a connection is being opened, and holds the slot.
    };
    const onAbort = () => giveUp(signal?.reason);
    const timer = setTimeout(
      () =>
        giveUp(
          place.isWorking
            ? new NotConnectedError(`no connection within ${waitMs} ms`)
            : new TimeBudgetSpentError(0),
        ),
      waitMs,
    );
    signal?.addEventListener("abort", onAbort, { once: true });

    const onConnected = (cause: unknown, client: PoolClient | undefined) => {
      if (client && isAwaited) {
        stopWaiting();
        return resolve({ client, giveBack: (destroy) => giveBack(client, destroy) });
      }
      if (isAwaited) fail(new NotConnectedError("cannot connect to the database", { cause }));
      giveBack(client, false);
    };
    const connect = () => {
      try {
        pool.connect(onConnected);
      } catch (cause) {
        onConnected(cause, undefined); // As a certificate that cannot be read, which pg looks for each time.
      }
    };
    const giveBack = (client: PoolClient | undefined, destroy: boolean) => {
      client?.release(destroy);
      place.leave(); // Behind the release, so that whoever is next finds it.
    };
    const place = queue.enter(tenant, {
      onTurn: connect,
      onShed: () => fail(new QueueFullError("too many wait for a connection to the database")),
    });
    if (place.isWorking) connect();
  });
}
