import { randomUUID } from "node:crypto";

import type { DescMethod } from "@bufbuild/protobuf";
import { createContextKey, type ContextValues, type HandlerContext } from "@connectrpc/connect";

/** This call's own id, a UUID made here: callers quote it, the logs have it. */
export const requestIdKey = createContextKey("", { description: "request id" });

/** What ties together all calls that one cause led to: the caller's `x-correlation-id`, else a UUID made here. */
export const correlationIdKey = createContextKey("", { description: "correlation id" });

/** When the call began, on the clock of `performance.now()`; `undefined` outside of a server. */
export const startedAtKey = createContextKey<number | undefined>(undefined, { description: "started at" });

/** When the caller's time is up, on the same clock; `undefined` when the caller set no deadline. */
export const deadlineAtKey = createContextKey<number | undefined>(undefined, { description: "deadline at" });

const correlationHeader = "x-correlation-id";
const correlationPattern = /^[\x21-\x7e]{1,128}$/;

/** What makes a call recognisable in a log. */
export interface CallFacts {
  readonly requestId: string;
  readonly correlationId: string;
  /** `package.Service/Method`. */
  readonly method: string;
}

/** Gives a call its ids and tells the caller the correlation id, in the headers of answers and of errors alike. */
export function identifyCall(context: HandlerContext): void {
  const { values, requestHeader, responseHeader } = context;
  const given = requestHeader.get(correlationHeader);
  const correlationId = given !== null && correlationPattern.test(given) ? given : randomUUID();
  values.set(requestIdKey, randomUUID());
  values.set(correlationIdKey, correlationId);
  const startedAt = performance.now();
  values.set(startedAtKey, startedAt);
  // Connect counts by the wall clock; from here on it is by one that nobody sets.
  const timeoutMs = context.timeoutMs();
  if (timeoutMs !== undefined) values.set(deadlineAtKey, startedAt + timeoutMs);
  responseHeader.set(correlationHeader, correlationId);
}

export function factsOf(values: ContextValues, method: DescMethod): CallFacts {
  return {
    requestId: values.get(requestIdKey),
    correlationId: values.get(correlationIdKey),
    method: `${method.parent.typeName}/${method.name}`,
  };
}
