/*
 * What a caller may conclude when a transaction fails. Any other error, a `DatabaseError` with its SQLSTATE among them,
 * means that the database refused: nothing was committed.
 *
 *   TimeBudgetSpentError    nothing was sent       the caller's time is over
 *   QueueFullError          nothing was sent       trying again later is safe
 *   NotConnectedError       nothing was changed    trying again is safe
 *   StatementTimeoutError   nothing was changed    the caller's time is over
 *   OutcomeUnknownError     committed, or not      look before doing it again
 */

/** No time was left when the transaction was to start, or when its turn for a connection would have come. Nothing was sent. */
export class TimeBudgetSpentError extends Error {
  override readonly name = "TimeBudgetSpentError";

  constructor(timeoutMs: number) {
    super(`${timeoutMs} ms are left, too few to start a transaction`);
  }
}

/** So many wait for a connection that this transaction was turned away. Nothing was sent: trying again later is safe. */
export class QueueFullError extends Error {
  override readonly name = "QueueFullError";
}

/**
 * No connection could be had in time, and nothing was sent; or the connection was lost during a read-only transaction.
 * Nothing was changed: trying again is safe.
 */
export class NotConnectedError extends Error {
  override readonly name = "NotConnectedError";
}

/** The database (or, for a read-only transaction, the wait for it) was cut off: nothing was committed. */
export class StatementTimeoutError extends Error {
  override readonly name = "StatementTimeoutError";
}

/**
 * The connection was lost, or the database did not answer in time, after something was sent: the transaction may have
 * been committed, may be committed a little later, or not at all. `cause` is what is known of the failure.
 */
export class OutcomeUnknownError extends Error {
  override readonly name = "OutcomeUnknownError";
}
