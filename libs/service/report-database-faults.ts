import { metrics } from "@opentelemetry/api";
import { DatabaseError } from "pg";
import { Fault } from "#libs/fault/fault.ts";
import {
  NotConnectedError,
  OutcomeUnknownError,
  QueueFullError,
  StatementTimeoutError,
  TimeBudgetSpentError,
} from "#libs/pg/transaction-errors.ts";
import { timeUp } from "#libs/rpc/deadline.ts";
import { lazily } from "#libs/telemetry/lazily.ts";

const unknownOutcomes = lazily(() => {
  const counter = metrics.getMeter("pg").createCounter("commit.outcome.unknown", {
    description: "Transactions of which nobody here knows whether they were committed",
  });
  counter.add(0); // There from the start, so that a first one shows as a rise.
  return counter;
});

export type DatabaseReason = "DEPENDENCY_DOWN" | "OUTCOME_UNKNOWN" | "OVERLOADED";

/** A database that turned read-only (it is a standby now), or that lacks disk, memory or connections. */
const unableCodes = /^(25006|53)/;
const retryAfterMs = 250;

/**
 * Runs a transaction and turns an outage into the Fault that says what the caller may conclude; DEADLINE_EXCEEDED when their time
 * was over before anything was sent. What the database refused
 * flies on as it is: it is for whoever knows the statement, or a bug.
 */
export async function reportDatabaseFaults<T>(run: () => Promise<T>): Promise<T> {
  const unknown = unknownOutcomes();
  try {
    return await run();
  } catch (error) {
    if (error instanceof OutcomeUnknownError) unknown.add(1);
    throw toFault(error) ?? error;
  }
}

function toFault(cause: unknown): Error | undefined {
  const options = { cause, retryAfterMs };
  if (cause instanceof NotConnectedError) return new Fault("DEPENDENCY_DOWN", {}, options);
  if (cause instanceof OutcomeUnknownError) return new Fault("OUTCOME_UNKNOWN", {}, options);
  if (cause instanceof TimeBudgetSpentError) return timeUp();
  if (cause instanceof StatementTimeoutError || cause instanceof QueueFullError) {
    return new Fault("OVERLOADED", {}, options);
  }
  if (cause instanceof DatabaseError && unableCodes.test(cause.code ?? "")) {
    return new Fault("DEPENDENCY_DOWN", {}, options);
  }
  return undefined;
}
