import type { CallOptions, HandlerContext } from "@connectrpc/connect";

import { timeUp } from "./deadline.ts";
import { correlationIdKey, deadlineAtKey } from "./request-context.ts";

/**
 * The options of a call that a handler makes on behalf of its own caller: what is left of that one's time, its abort and its
 * correlation id. Made anew for each call. Throws DEADLINE_EXCEEDED when no time is left, or what the caller aborted with. Of a caller without a deadline
 * nothing is passed on, and the client's own limit holds.
 */
export function onwardCall(context: HandlerContext): CallOptions {
  const { signal, values } = context;
  const correlationId = values.get(correlationIdKey);
  const deadlineAt = values.get(deadlineAtKey);
  const leftMs = deadlineAt === undefined ? context.timeoutMs() : deadlineAt - performance.now();
  if (leftMs !== undefined && leftMs < 1) throw timeUp();
  signal.throwIfAborted(); // Two clocks: the signal can be ahead of ours by a moment.
  return {
    signal,
    ...(leftMs !== undefined && { timeoutMs: leftMs }),
    ...(correlationId !== "" && { headers: { "x-correlation-id": correlationId } }),
  };
}
