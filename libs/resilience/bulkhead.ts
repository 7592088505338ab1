export interface BulkheadLimits {
  readonly inFlightMax: number;
  /** How many may wait for a place. */
  readonly queueMax: number;
}

/** All places are taken, and all places in the queue. */
export class BulkheadFullError extends Error {
  override readonly name = "BulkheadFullError";
}

/** Bounds what is under way at a time. */
export interface Bulkhead {
  /**
   * Waits for a place, first come first served; returns what gives it back, once. Throws `BulkheadFullError`, or the
   * signal's reason as soon as that is aborted.
   */
  enter(signal: AbortSignal): Promise<() => void>;
}

export function createBulkhead({ inFlightMax, queueMax }: BulkheadLimits): Bulkhead {
  let inFlight = 0;
  const queue = new Set<() => void>();

  function takePlace(): () => void {
    inFlight++;
    let given = false;
    return () => {
      if (given) return;
      given = true;
      inFlight--;
      const [next] = queue;
      next?.();
    };
  }

  return {
    async enter(signal) {
      signal.throwIfAborted();
      if (inFlight < inFlightMax) return takePlace();
      if (queue.size >= queueMax)
        throw new BulkheadFullError(`${inFlightMax} under way, ${queueMax} waiting`);
      return new Promise((resolve, reject) => {
        const leave = () => {
          queue.delete(admit);
          signal.removeEventListener("abort", onAbort);
        };
        // The place is taken here and not by whoever awaits it: nobody may come in between.
        const admit = () => {
          leave();
          resolve(takePlace());
        };
        const onAbort = () => {
          leave();
          reject(signal.reason);
        };
        queue.add(admit);
        signal.addEventListener("abort", onAbort, { once: true });
      });
    },
  };
}
