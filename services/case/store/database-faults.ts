import { DatabaseError } from "pg";
import { Fault } from "#libs/fault/fault.ts";
import {
  NotConnectedError,
  OutcomeUnknownError,
  StatementTimeoutError,
  TimeBudgetSpentError,
} from "#libs/pg/transaction-errors.ts";
import type { Reason } from "../domain/reason.ts";
import { lostRaceConstraints } from "./save-transition.ts";

const uniqueViolation = "23505";
/** `serialization_failure` and `deadlock_detected`: PostgreSQL asks to try again. */
const tryAgainCodes: ReadonlySet<string> = new Set(["40001", "40P01"]);
const retryAfterMs = 250;

/**
 * Runs a transaction and turns an outage into the Fault that says what the caller may conclude. What the database refused
 * flies on as it is: it is for `isLostRace`, or a bug.
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

/** Whether somebody else was faster, nothing was written, and looking again will tell what to do. */
export function isLostRace(error: unknown): boolean {
  if (!(error instanceof DatabaseError)) return false;
  if (error.code === uniqueViolation) return lostRaceConstraints.has(error.constraint ?? "");
  return tryAgainCodes.has(error.code ?? "");
}
