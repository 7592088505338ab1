import { setTimeout as pause } from "node:timers/promises";
import { DatabaseError } from "pg";
import { createBackoff } from "#libs/resilience/backoff.ts";
import { StatementTimeoutError, TimeBudgetSpentError } from "./transaction-errors.ts";

/** `serialization_failure` and `deadlock_detected`. */
const tryAgainCodes: ReadonlySet<string> = new Set(["40001", "40P01"]);
/** Rivals that failed together do not come back together; a standby that replays a migration takes longer. */
const pauses = { baseMs: 20, capMs: 250 };

/** Whether PostgreSQL undid the transaction because of what others did at the same time, and asks to try it again. */
export function asksToTryAgain(error: unknown): boolean {
  return error instanceof DatabaseError && tryAgainCodes.has(error.code ?? "");
}

/**
 * Runs `read` as often as PostgreSQL asks for it, with pauses in between. `StatementTimeoutError` when that would go on
 * beyond `endsAt`, of `performance.now()`.
 */
export async function tryAgainUntil<T>(endsAt: number, read: () => Promise<T>): Promise<T> {
  const nextPauseMs = createBackoff(pauses, Math.random);
  for (let refusal: unknown; ;) {
    try {
      return await read();
    } catch (error) {
      // The pause took longer than it was to, or what was left after it was too little.
      const isLate = refusal !== undefined && isOutOfTime(error);
      if (!isLate && !asksToTryAgain(error)) throw error;
      if (!isLate) refusal = error;
      const pauseMs = nextPauseMs();
      if (isLate || performance.now() + pauseMs >= endsAt) {
        throw new StatementTimeoutError("the database asked to try again until the time was over", {
          cause: refusal,
        });
      }
      await pause(pauseMs);
    }
  }
}

function isOutOfTime(error: unknown): boolean {
  return error instanceof TimeBudgetSpentError || error instanceof StatementTimeoutError;
}
