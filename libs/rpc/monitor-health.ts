import { setTimeout as sleep } from "node:timers/promises";

export interface MonitorOptions {
  /** Resolves when all is well. Gets a signal that is aborted at the timeout and on disposal. */
  readonly probe: (signal: AbortSignal) => Promise<void>;
  /** From the end of one probe to the start of the next. */
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** So many failures in a row end serving. */
  readonly failuresToStop: number;
  /** So many successes in a row begin it again. */
  readonly successesToServe: number;
  /** Told of the first verdict and of each other one; `error` is why all is not well. */
  readonly onChange: (serving: boolean, error?: unknown) => void;
}

/**
 * Probes at once and then again and again, one probe at a time. Results that go back and forth change nothing: it takes several
 * in a row. Until it has served once, the first success counts at once.
 *
 * A probe that is late counts as failed, and once more for each further `timeoutMs` that it takes; the next waits until it has
 * ended, so that a probe deaf to its signal cannot pile up. Disposal aborts a running probe and waits for nothing.
 */
export function monitorHealth(options: MonitorOptions): AsyncDisposable {
  const stop = new AbortController();
  const running = run(options, stop.signal);
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}

async function run(options: MonitorOptions, stopped: AbortSignal): Promise<void> {
  const { probe, intervalMs, timeoutMs } = options;
  const judge = createJudge(options);
  const take = (good: boolean, error?: unknown): void => {
    if (!stopped.aborted) judge(good, error);
  };
  while (!stopped.aborted) {
    const limit = AbortSignal.any([stopped, AbortSignal.timeout(timeoutMs)]);
    const probing = Promise.try(probe, limit);
    try {
      await untilAborted(probing, limit);
      take(true);
    } catch (error) {
      take(false, error);
    }
    while (!(await endsWithin(timeoutMs, Promise.allSettled([probing]), stopped))) take(false, limit.reason);
    await sleep(intervalMs, undefined, { signal: stopped }).catch(() => {});
  }
}

/** Makes verdicts of results. */
function createJudge({ failuresToStop, successesToServe, onChange }: MonitorOptions) {
  let verdict: boolean | undefined;
  let hasServed = false;
  /** Results in a row that speak against the verdict. */
  let against = 0;
  return (good: boolean, error?: unknown): void => {
    against = good === verdict ? 0 : against + 1;
    const needed = good ? successesToServe : failuresToStop;
    if (against === 0 || (hasServed && against < needed)) return;
    verdict = good;
    hasServed ||= good;
    against = 0;
    onChange(good, error);
  };
}

async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => aborted.reject(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort);
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** Whether it ends by then, or nobody cares any more. */
async function endsWithin(limitMs: number, work: Promise<unknown>, stopped: AbortSignal): Promise<boolean> {
  const ended = new AbortController();
  const signal = AbortSignal.any([stopped, ended.signal]);
  const late = sleep(limitMs, false, { signal }).catch(() => true);
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    ended.abort();
  }
}
