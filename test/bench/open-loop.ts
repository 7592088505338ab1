import { setTimeout as pause } from "node:timers/promises";

export interface Load {
  readonly perSecond: number;
  readonly seconds: number;
}

/**
 * Makes calls at a fixed rate, whether or not the ones before were answered, and returns how long each took, in milliseconds,
 * sorted. Time counts from when a call was to be made: a call that starts late because the caller is behind is charged for
 * it, or a stalled service would hide in the calls that were never made. A call that failed took for ever.
 */
export async function runOpenLoop(
  { perSecond, seconds }: Load,
  call: (index: number) => Promise<unknown>,
  onFailure: (error: unknown) => void,
): Promise<number[]> {
  const startAt = performance.now();
  const calls: Promise<number>[] = [];
  for (let index = 0; index < perSecond * seconds; index++) {
    const dueAt = startAt + (index * 1_000) / perSecond;
    const earlyMs = dueAt - performance.now();
    if (earlyMs > 1) await pause(earlyMs);
    calls.push(measure(() => call(index), dueAt, onFailure));
  }
  return (await Promise.all(calls)).toSorted((a, b) => a - b);
}

async function measure(
  call: () => Promise<unknown>,
  dueAt: number,
  onFailure: (error: unknown) => void,
): Promise<number> {
  try {
    await call();
    return performance.now() - dueAt;
  } catch (error) {
    onFailure(error);
    return Infinity;
  }
}

/** The value that the share `quantile` of the sorted values does not pass. */
export function quantileOf(sorted: readonly number[], quantile: number): number {
  return sorted[Math.ceil(sorted.length * quantile) - 1] ?? Number.NaN;
}
