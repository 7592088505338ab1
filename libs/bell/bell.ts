/** A wake-up that is not lost: rung while nobody waits, it ends the next wait at once. */
export interface Bell extends Disposable {
  ring(): void;
  /** Rings after `ms`, unless it is already to ring sooner than that by itself. */
  ringIn(ms: number): void;
  /** Waits until the bell rings, `ms` have passed, or `signal` aborts, whichever is first. One waiter at a time. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
}

export function createBell(): Bell {
  let rung = false;
  let wake: (() => void) | undefined;
  let alarm: { readonly at: number; readonly timer: NodeJS.Timeout } | undefined;
  const ring = (): void => {
    rung = true;
    wake?.();
  };
  return {
    ring,
    ringIn(ms) {
      const at = performance.now() + ms;
      if (alarm && alarm.at <= at) return;
      clearTimeout(alarm?.timer);
      const timer = setTimeout(() => {
        alarm = undefined;
        ring();
      }, ms);
      timer.unref();
      alarm = { at, timer };
    },
    [Symbol.dispose]() {
      clearTimeout(alarm?.timer);
      alarm = undefined;
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
