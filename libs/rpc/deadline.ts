import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";

import { deadlineAtKey, startedAtKey } from "./request-context.ts";

/**
 * Milliseconds that are left for what a handler does next: of the caller's deadline, and never more than `ceilingMs`.
 *
 * For a unary call the ceiling counts from the call's start, so that it stands in for a deadline that the caller did not
 * set; each step of a stream has the whole ceiling. A spent budget throws DEADLINE_EXCEEDED and is never passed on: to
 * Connect's clients a timeout of 0 means none at all.
 */
export function remainingMs(context: HandlerContext, ceilingMs: number): number {
  const startedAt = context.values.get(startedAtKey);
  const countsFromStart = context.method.methodKind === "unary" && startedAt !== undefined;
  const ceilingLeftMs = countsFromStart ? startedAt + ceilingMs - performance.now() : ceilingMs;
  const deadlineAt = context.values.get(deadlineAtKey);
  const callerLeftMs = deadlineAt === undefined ? context.timeoutMs() : deadlineAt - performance.now();
  const leftMs = Math.floor(Math.min(callerLeftMs ?? ceilingLeftMs, ceilingLeftMs));
  if (leftMs < 1) throw timeUp();
  return leftMs;
}

/** Nothing was sent, or nobody waits for the answer any more. */
export function timeUp(): ConnectError {
  return new ConnectError("the time for this call is up", Code.DeadlineExceeded);
}
