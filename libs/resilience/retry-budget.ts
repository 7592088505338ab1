export interface RetryBudgetLimits {
  /** Retries that each call pays in, as a share of one; below 1. */
  readonly share: number;
  /** Retries that the budget holds at most, and at the beginning. */
  readonly burst: number;
}

/** Keeps retries a small share of the calls, so that they cannot make an outage worse. One a target. */
export interface RetryBudget {
  /** A call was made, with whatever result. */
  payIn(): void;
  /** Takes one retry; false when there is none left. */
  take(): boolean;
  /** Retries that may be taken at once, with what is saved up of the next. */
  left(): number;
}

/**
 * A token bucket. Of `calls` in a row, however they fail, at most `calls × share + burst` are retries: with a share of 0.1
 * and a burst of 10, attempts stay below 1.2 times the calls from the hundredth call on. It counts calls and not time, so
 * that a quiet hour earns nothing.
 */
export function createRetryBudget({ share, burst }: RetryBudgetLimits): RetryBudget {
  let left = burst;
  return {
    payIn() {
      left = Math.min(burst, left + share);
    },
    take() {
      if (left < 1) return false;
      left -= 1;
      return true;
    },
    left: () => left,
  };
}
