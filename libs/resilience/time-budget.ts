import type { Clock } from "./clock.ts";

/** What one call has of time, all attempts and waits together. Disposing takes its timer away and ends nothing. */
export interface TimeBudget extends Disposable {
  /** Aborted when the time is up, or with the first of the given signals and its reason. */
  readonly signal: AbortSignal;
  /** Milliseconds, never below 0. */
  remainingMs(): number;
}

/** `timeUp` makes the reason that the signal is aborted with when the time is up. */
export function startTimeBudget(
  clock: Clock,
  totalMs: number,
  timeUp: () => Error,
  signals: readonly (AbortSignal | undefined)[] = [],
): TimeBudget {
  const endsAt = clock.now() + totalMs;
  const controller = new AbortController();
  const followed = signals.filter((signal) => signal !== undefined);
  const callOff = clock.after(totalMs, () => end(timeUp()));

  function release(): void {
    callOff();
    for (const signal of followed) signal.removeEventListener("abort", follow);
  }
  function end(reason: unknown): void {
    release();
    controller.abort(reason);
  }
  function follow(this: AbortSignal): void {
    end(this.reason);
  }
  for (const signal of followed) signal.addEventListener("abort", follow, { once: true });
  const aborted = followed.find((signal) => signal.aborted);
  if (aborted) end(aborted.reason);
  return {
    signal: controller.signal,
    remainingMs: () => Math.max(0, endsAt - clock.now()),
    [Symbol.dispose]: release,
  };
}
