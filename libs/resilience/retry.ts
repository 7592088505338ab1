import { createBackoff, type BackoffLimits } from "./backoff.ts";
import { type Clock, wait } from "./clock.ts";
import type { RetryBudget } from "./retry-budget.ts";
import type { TimeBudget } from "./time-budget.ts";

export interface RetryLimits extends BackoffLimits {
  /** The first one among them. */
  readonly attemptsMax: number;
}

/**
 * Whether what an attempt threw may be tried again. `atLeastMs`: whoever was asked wants to be left alone for that long, and
 * then everybody comes at a moment of their own. `exactlyMs`: wants the next attempt just then.
 */
export type RetryVerdict =
  | { readonly again: false }
  | { readonly again: true; readonly atLeastMs?: number }
  | { readonly again: true; readonly exactlyMs: number };

export interface RetryOptions {
  readonly limits: RetryLimits;
  readonly clock: Clock;
  readonly time: TimeBudget;
  /** What an attempt needs of the time: a wait that would leave less is not begun. */
  readonly attemptMinMs: number;
  readonly judge: (error: unknown) => RetryVerdict;
  /** Absent: nothing but the limits bounds the retries. */
  readonly budget?: RetryBudget | undefined;
  /** Told before each wait. */
  readonly onRetry: (retry: {
    readonly attempt: number;
    readonly waitMs: number;
    readonly error: unknown;
  }) => void;
  /** Told when only the budget stands in the way of another attempt. */
  readonly onBudgetSpent: () => void;
}

/**
 * Runs `attempt` until it succeeds or must not go on, and then throws what it threw last. A wait that would leave no
 * time for an attempt is not begun; an abort ends it, and its reason is thrown.
 */
export async function retry<T>(options: RetryOptions, attempt: () => Promise<T>): Promise<T> {
  const { limits, clock, time, attemptMinMs, judge, budget } = options;
  const backoffMs = createBackoff(limits, clock.random);
  budget?.payIn();
  for (let made = 1; ; made++) {
    try {
      return await attempt();
    } catch (error) {
      const verdict = judge(error);
      if (!verdict.again || made >= limits.attemptsMax || time.signal.aborted) throw error;
      const waitMs = "exactlyMs" in verdict ? verdict.exactlyMs : (verdict.atLeastMs ?? 0) + backoffMs();
      if (time.remainingMs() - waitMs < attemptMinMs) throw error;
      if (budget && !budget.take()) {
        options.onBudgetSpent();
        throw error;
      }
      options.onRetry({ attempt: made + 1, waitMs, error });
      await wait(clock, waitMs, time.signal);
    }
  }
}
