/** A wake-up that is not lost: rung while nobody waits, it ends the next wait at once. */
export interface Bell {
  ring(): void;
  /** Waits until the bell rings, `ms` have passed, or `signal` aborts, whichever is first. One waiter at a time. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
}

export function createBell(): Bell {
  let rung = false;
  let wake: (() => void) | undefined;
  return {
    ring() {
      rung = true;
      wake?.();
    },
    async wait(ms, signal) {
      if (!rung && !signal.aborted) {
        await new Promise<void>((resolve) => {
          const end = (): void => {
            clearTimeout(timer);
            signal.removeEventListener("abort", end);
            wake = undefined;
            resolve();
          };
          const timer = setTimeout(end, ms);
          signal.addEventListener("abort", end);
          wake = end;
        });
      }
      rung = false;
    },
  };
}
