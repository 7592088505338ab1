import { ExponentialBackoff, type GeneratorFn } from "cockatiel";

export interface BackoffLimits {
  /** What the first wait lies below; each later one may be twice as long. */
  readonly baseMs: number;
  /** What every wait lies below. */
  readonly capMs: number;
}

/**
 * Gives one wait after another, in milliseconds: full jitter, from 0 up to base × 2^n and never above the cap. The source is
 * "Exponential Backoff And Jitter" in the AWS Architecture Blog. The generator is ours because those of cockatiel take their
 * chance from `Math.random`.
 */
export function createBackoff({ baseMs, capMs }: BackoffLimits, random: () => number): () => number {
  const fullJitter: GeneratorFn<number> = (doublings = 0, { initialDelay, maxDelay }) => [
    random() * Math.min(maxDelay, initialDelay * 2 ** doublings),
    doublings + 1,
  ];
  let wait = new ExponentialBackoff({ generator: fullJitter, initialDelay: baseMs, maxDelay: capMs }).next();
  return () => {
    const { duration } = wait;
    wait = wait.next(undefined);
    return duration;
  };
}
