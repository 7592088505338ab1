import { Fault } from "#libs/fault/fault.ts";
import {
  NotConnectedError,
  OutcomeUnknownError,
  StatementTimeoutError,
  TimeBudgetSpentError,
} from "#libs/pg/transaction-errors.ts";
import type { Reason } from "../domain/reason.ts";

const retryAfterMs = 250;

/**
 * Runs a transaction and turns an outage into the Fault that says what the caller may conclude. What the database
 * refused flies on as it is: a bug, as whoever appends holds the log's lock.
 */
export async function reportDatabaseFaults<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw toFault(error) ?? error;
  }
}

function toFault(cause: unknown): Fault<Reason> | undefined {
  const options = { cause, retryAfterMs };
  if (cause instanceof NotConnectedError) return new Fault("DEPENDENCY_DOWN", {}, options);
  if (cause instanceof OutcomeUnknownError) return new Fault("OUTCOME_UNKNOWN", {}, options);
  if (cause instanceof StatementTimeoutError || cause instanceof TimeBudgetSpentError) {
    return new Fault("OVERLOADED", {}, options);
  }
  return undefined;
}
