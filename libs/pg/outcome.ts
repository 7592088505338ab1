/**
 * Reads from the answers to a transaction whether it was committed.
 *
 *   answer to COMMIT          means
 *   COMMIT                    committed, if BEGIN had been accepted
 *   ROLLBACK                  not committed: a statement before it failed
 *   an error                  not committed, unless the error is one that can also come after the commit
 *   none                      not committed if the database had refused a statement; else nobody knows
 *
 * The last words of a dying connection (FATAL errors) prove nothing: between us and the server there may be a pooler,
 * whose server connection died after it had passed everything on.
 */
import { DatabaseError, type Client, type QueryResult } from "pg";
import type { Answers } from "./exchange.ts";
import { NotConnectedError, OutcomeUnknownError, StatementTimeoutError } from "./transaction-errors.ts";

const queryCanceled = "57014";

/** The statements' results if the transaction was committed; otherwise throws what its failure means. */
export function readOutcome(answers: Answers, readOnly: boolean): QueryResult[] {
  const { begin, statements, commit } = answers;
  const results = statements.filter((answer) => answer.status === "fulfilled").map((answer) => answer.value);
  const tag = commit.status === "fulfilled" ? commit.value.command : undefined;
  const failures = [begin, ...statements, commit]
    .filter((answer) => answer.status === "rejected")
    .map((answer): unknown => answer.reason);
  if (failures.length === 0 && tag === "COMMIT") return results;

  const refusal = findRefusal(answers);
  if (refusal) throw asThrown(refusal);
  if (tag === "ROLLBACK") throw new Error("the transaction was rolled back: a statement must have ended it");

  const cause = failures.find((failure) => failure instanceof DatabaseError) ?? failures[0];
  if (answers.overdue) {
    if (readOnly) throw new StatementTimeoutError("the database did not answer in time", { cause });
    throw new OutcomeUnknownError("the database did not answer in time", { cause });
  }
  if (readOnly) throw new NotConnectedError("the connection was lost while reading", { cause });
  throw new OutcomeUnknownError("the connection was lost before the commit was confirmed", { cause });
}

/** True when the server answered everything, is outside of a transaction, and would serve the next one as well. */
export function isReusable(client: Client, { begin, statements, commit, overdue }: Answers): boolean {
  if (overdue || client.getTransactionStatus() !== "I") return false;
  return [begin, ...statements, commit].every(
    (answer) => answer.status === "fulfilled" || (isRefusal(answer.reason) && !isStalePlan(answer.reason)),
  );
}

/** The error by which the database refused the transaction as a whole, if there is one that proves it. */
function findRefusal({ begin, statements, commit }: Answers): DatabaseError | undefined {
  const tag = commit.status === "fulfilled" ? commit.value.command : undefined;
  if (begin.status === "rejected" && tag !== "ROLLBACK") {
    // BEGIN was cancelled: there was no transaction, and statements that succeeded did so each on its own.
    const nothingDone = statements.every(
      (answer) => answer.status === "rejected" && isRefusal(answer.reason),
    );
    return nothingDone && isRefusal(begin.reason) ? begin.reason : undefined;
  }
  const refused = [begin, ...statements].find(
    (answer) => answer.status === "rejected" && isRefusal(answer.reason),
  );
  if (refused?.status === "rejected") return refused.reason as DatabaseError; // `isRefusal` has just said so.
  if (commit.status === "rejected" && isRefusal(commit.reason) && endsTransaction(commit.reason))
    return commit.reason;
  return undefined;
}

/** An error that the database answered with and lived on. SQLSTATE tells, because severities are translated. */
function isRefusal(error: unknown): error is DatabaseError {
  if (!(error instanceof DatabaseError) || error.code === undefined) return false;
  if (error.severity === "FATAL" || error.severity === "PANIC") return false;
  return !/^(08|57P|25P03|25P04|53300)/.test(error.code);
}

/**
 * Whether an error answered to COMMIT itself rules out that it took effect. A cancel (`statement_timeout`, an operator)
 * can be reported after the commit record was written; 40003 says itself that it does not know; 53, 58 and XX are
 * the machine failing at an unknown point.
 */
function endsTransaction({ code = "" }: DatabaseError): boolean {
  return code !== queryCanceled && code !== "40003" && !/^(53|58|XX)/.test(code);
}

/** The connection's prepared statement outlived a change of the schema, or is gone: parsing again needs a new one. */
function isStalePlan(error: DatabaseError): boolean {
  return error.routine === "RevalidateCachedQuery" || error.code === "26000";
}

function asThrown(refusal: DatabaseError): Error {
  if (refusal.code !== queryCanceled) return refusal;
  return new StatementTimeoutError("the database cancelled the statement", { cause: refusal });
}
