import { setTimeout as sleep } from "node:timers/promises";

export interface MonitorOptions {
  /** Resolves when all is well. Gets a signal that is aborted at the timeout and on disposal. */
  readonly probe: (signal: AbortSignal) => Promise<void>;
  /** From the end of one probe to the start of the next. */
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Told of the first result and of each other one; `error` is why all is not well. */
  readonly onChange: (serving: boolean, error?: unknown) => void;
}

/**
 * Probes at once and then again and again, one probe at a time. One that is late counts as failed; the next waits until
 * it has ended, so that a probe deaf to its signal cannot pile up. Disposal aborts a running probe and waits for nothing.
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
  const { probe, intervalMs, timeoutMs, onChange } = options;
  let serving: boolean | undefined;
  const tell = (now: boolean, error?: unknown) => {
    if (now !== serving && !stopped.aborted) onChange(now, error);
    serving = now;
  };
  while (!stopped.aborted) {
    const limit = AbortSignal.any([stopped, AbortSignal.timeout(timeoutMs)]);
    const probing = Promise.try(probe, limit);
    try {
      await untilAborted(probing, limit);
      tell(true);
    } catch (error) {
      tell(false, error);
    }
    await untilAborted(Promise.allSettled([probing]), stopped).catch(() => {});
    await sleep(intervalMs, undefined, { signal: stopped }).catch(() => {});
  }
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
