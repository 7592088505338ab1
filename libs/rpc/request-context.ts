import { randomUUID } from "node:crypto";

import type { DescMethod } from "@bufbuild/protobuf";
import { createContextKey, type ContextValues, type HandlerContext } from "@connectrpc/connect";

/** This call's own id, a UUID made here: callers quote it, the logs have it. */
export const requestIdKey = createContextKey("", { description: "request id" });

/** What ties together all calls that one cause led to: the caller's `x-correlation-id`, else a UUID made here. */
export const correlationIdKey = createContextKey("", { description: "correlation id" });

/** When the call began, on the clock of `performance.now()`; `undefined` outside of a server. */
export const startedAtKey = createContextKey<number | undefined>(undefined, { description: "started at" });

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
export function identifyCall({ values, requestHeader, responseHeader }: HandlerContext): void {
  const given = requestHeader.get(correlationHeader);
  const correlationId = given !== null && correlationPattern.test(given) ? given : randomUUID();
  values.set(requestIdKey, randomUUID());
  values.set(correlationIdKey, correlationId);
  values.set(startedAtKey, performance.now());
  responseHeader.set(correlationHeader, correlationId);
}

export function factsOf(values: ContextValues, method: DescMethod): CallFacts {
  return {
    requestId: values.get(requestIdKey),
    correlationId: values.get(correlationIdKey),
    method: `${method.parent.typeName}/${method.name}`,
  };
}
