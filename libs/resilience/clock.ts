/** Time, timers and chance, so that a test can hold all three. */
export interface Clock {
  /** Milliseconds on a clock that nobody sets. */
  now(): number;
  /** From 0 up to 1, without 1. */
  random(): number;
  /**
   * Calls `run` once, after `ms`; returns what calls it off. `background`: the timer alone keeps no process alive.
   */
  after(ms: number, run: () => void, kind?: "background"): () => void;
}

/** The most that a timer of Node can hold; it takes more for one millisecond. */
const timerMaxMs = 2_147_483_647;

export const systemClock: Clock = {
  now: () => performance.now(),
  random: () => Math.random(),
  after(ms, run, kind) {
    const timer = setTimeout(run, Math.min(Math.max(ms, 0), timerMaxMs));
    if (kind === "background") timer.unref();
    return () => clearTimeout(timer);
  },
};

/** Resolves after `ms`; rejects with the signal's reason as soon as that is aborted, and leaves no timer then. */
export function wait(clock: Clock, ms: number, signal: AbortSignal, kind?: "background"): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const onAbort = () => {
      callOff();
      reject(signal.reason);
    };
    const onTime = () => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    };
    const callOff = clock.after(ms, onTime, kind);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
