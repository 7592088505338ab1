/*
 * One transaction in two round trips, for writes that depend on what is read under a lock.
 *
 *   first     BEGIN; SET LOCAL …     (one simple query)
 *             each read              a lock, and what is read under it: each sees all that was committed before it began
 *   decide    on this side           the lock is held meanwhile: nothing may be waited for here
 *   second    SET LOCAL …            what is left of the time
 *             each write; COMMIT     when a write fails, the server skips the rest and answers COMMIT with ROLLBACK
 *
 * If this process dies before the second write, the server rolls back and frees the lock; after it, the server goes on
 * alone. What is known then is read from the answers, by the rules of libs/pg/outcome.ts.
 */
import { DatabaseError, type Client, type Pool, type QueryResult } from "pg";
import { beginText } from "#libs/pg/begin-text.ts";
import { borrowConnection } from "#libs/pg/borrow-connection.ts";
import { exchange } from "#libs/pg/exchange.ts";
import { isReusable, readOutcome } from "#libs/pg/outcome.ts";
import { claimNames, prepareStatements, type SendableStatement } from "#libs/pg/prepare-statements.ts";
import type { Statement } from "#libs/pg/statement.ts";
import { timeStatements } from "#libs/pg/statement-times.ts";
import {
  NotConnectedError,
  StatementTimeoutError,
  TimeBudgetSpentError,
} from "#libs/pg/transaction-errors.ts";

export interface LockedTransactionOptions {
  readonly tenantId: string;
  /** What is left of the caller's time, from now; the waits for a connection and for the lock are part of it. */
  readonly timeoutMs: number;
  /** Until something is sent, an abort ends the wait. */
  readonly signal?: AbortSignal | undefined;
  /** Settings for this transaction only. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** How long after its time the server may still answer: its own timeout comes first, and is better news. */
const answerGraceMs = 500;
const queryCanceled = "57014";

/**
 * Runs `reads`, and then the writes that `decide` makes of their results, as one READ COMMITTED transaction of a
 * tenant. When `decide` makes none, or throws, nothing is changed, whatever the reads did.
 *
 * Throws what `runForTenant` of libs/pg throws, meaning the same.
 */
export async function runLocked(
  pool: Pool,
  { tenantId, timeoutMs, signal, settings = {} }: LockedTransactionOptions,
  reads: readonly Statement[],
  decide: (results: readonly QueryResult[]) => readonly Statement[],
): Promise<void> {
  if (!(timeoutMs >= 1)) throw new TimeBudgetSpentError(timeoutMs);
  const endsAt = performance.now() + timeoutMs;
  const preparedReads = prepareStatements(reads);
  using connection = await borrowConnection(pool, { tenant: tenantId, waitMs: timeoutMs, signal });
  const { client } = connection;
  claimNames(client, preparedReads);
  const readMs = leftMs(endsAt);

  connection.reusable = false; // Until the server is outside of the transaction again.
  try {
    const begin = beginText(client, false, {
      statement_timeout: String(readMs),
      "app.tenant_id": tenantId,
      ...settings,
    });
    const results = await timeStatements(preparedReads, () =>
      readFirst(client, begin, preparedReads, readMs + answerGraceMs),
    );
    const writes = prepareStatements(decide(results));
    if (writes.length === 0) return;

    claimNames(client, writes);
    const writeMs = leftMs(endsAt);
    const limit = `SET LOCAL statement_timeout = ${writeMs}`;
    const answers = await timeStatements(writes, () =>
      exchange(client, limit, writes, writeMs + answerGraceMs),
    );
    connection.reusable = isReusable(client, answers);
    readOutcome(answers, false);
  } finally {
    if (!connection.reusable) connection.reusable = await rollBack(client);
  }
}

/** Throws when nothing is left. */
function leftMs(endsAt: number): number {
  const left = Math.floor(endsAt - performance.now());
  if (left < 1) throw new StatementTimeoutError("the time was over before anything was written");
  return left;
}

/** Sends BEGIN and the reads in one write. When it throws, nothing was changed. */
async function readFirst(
  client: Client,
  begin: string,
  reads: readonly SendableStatement[],
  limitMs: number,
): Promise<QueryResult[]> {
  const { stream } = client.connection;
  let overdue = false;
  const guard = setTimeout(() => {
    overdue = true;
    stream.destroy();
  }, limitMs);

  stream.cork(); // One write, so that it is one packet, and one system call.
  const begun = client.query(begin);
  const asked = reads.map((read) => client.query({ ...read }));
  stream.uncork();

  const answers = await Promise.allSettled([begun, ...asked]);
  clearTimeout(guard);
  const failed = answers.find((answer) => answer.status === "rejected");
  if (failed === undefined) return Promise.all(asked);

  const error = toReadError(failed.reason, overdue);
  // A statement that the server refused for anything but the time may be refused again on this connection.
  if (!(error instanceof StatementTimeoutError)) stream.destroy();
  throw error;
}

function toReadError(cause: unknown, overdue: boolean): unknown {
  if (overdue) return new StatementTimeoutError("the database did not answer in time", { cause });
  const refused = cause instanceof DatabaseError && !/^(08|57P|25P03|25P04|53300)/.test(cause.code ?? "08");
  if (!refused)
    return new NotConnectedError("the connection was lost before anything was written", { cause });
  if (cause.code !== queryCanceled) return cause;
  return new StatementTimeoutError("the database cancelled the statement", { cause });
}

/** Ends a transaction that was left open; false when the connection is not to be used again. */
async function rollBack(client: Client): Promise<boolean> {
  const { stream } = client.connection;
  if (!stream.writable || client.getTransactionStatus() === "I") return false;
  const guard = setTimeout(() => stream.destroy(), answerGraceMs);
  try {
    await client.query("ROLLBACK");
    return client.getTransactionStatus() === "I";
  } catch {
    return false;
  } finally {
    clearTimeout(guard);
  }
}
