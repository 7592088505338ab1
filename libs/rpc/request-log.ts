import { AsyncLocalStorage } from "node:async_hooks";

import {
  Code,
  ConnectError,
  createContextKey,
  type HandlerContext,
  type Interceptor,
} from "@connectrpc/connect";

import { ErrorInfoSchema } from "#libs/gen/google/rpc/error_details_pb.ts";

import { mapIterable } from "./map-iterable.ts";
import { principalKey } from "./principal.ts";
import { factsOf, type CallFacts } from "./request-context.ts";
import { whenAborted } from "./when-aborted.ts";

export interface RequestLogLine extends CallFacts {
  readonly tenant: string | undefined;
  readonly principal: string | undefined;
  /** `ok`, or the status as the gRPC specification writes it in lower case, `not_found`. */
  readonly code: string;
  /** `ErrorInfo.reason`. */
  readonly reason: string | undefined;
  /** Up to the end of the answer; for a call whose deadline passed, up to then. */
  readonly durationMs: number;
  readonly streaming: boolean;
  /** `grpc`, `grpc-web` or `connect`. */
  readonly protocol: string;
}

export interface RequestLog {
  /** Starts watching a call. The line has the reason if the errors of calls were described before. */
  readonly watch: (context: HandlerContext) => void;
  /** Tells whether the handler came to its end, and lets the line be written in the trace that is active here. */
  readonly interceptor: Interceptor;
}

interface Progress {
  finished: boolean;
  inTrace: (work: () => void) => void;
}

const progressKey = createContextKey<Progress | undefined>(undefined, { description: "progress" });

/**
 * Writes one line a call, when it is over: also for calls that were refused before any interceptor ran, for those that
 * the caller gave up, and for streams, which are over with their last message.
 */
export function requestLog(log: (line: RequestLogLine) => void): RequestLog {
  return {
    watch(context) {
      const startedAt = performance.now();
      const progress: Progress = { finished: false, inTrace: (work) => work() };
      context.values.set(progressKey, progress);
      whenAborted(context.signal, () => {
        const durationMs = Math.round((performance.now() - startedAt) * 1_000) / 1_000;
        progress.inTrace(() => log({ ...toLine(context, progress.finished), durationMs }));
      });
    },

    interceptor: (next) => async (request) => {
      const progress = request.contextValues.get(progressKey);
      if (progress === undefined) return next(request);
      progress.inTrace = AsyncLocalStorage.snapshot();
      const finish = () => {
        progress.finished = true;
      };
      const response = await next(request);
      if (response.stream) return { ...response, message: mapIterable(response.message, { onEnd: finish }) };
      finish();
      return response;
    },
  };
}

function toLine(context: HandlerContext, finished: boolean): Omit<RequestLogLine, "durationMs"> {
  const principal = context.values.get(principalKey);
  const error: unknown = context.signal.reason;
  return {
    ...factsOf(context.values, context.method),
    tenant: principal?.tenantId,
    principal: principal?.id,
    code: readCode(error, finished),
    reason: error instanceof ConnectError ? error.findDetails(ErrorInfoSchema)[0]?.reason : undefined,
    streaming: context.method.methodKind !== "unary",
    protocol: context.protocolName,
  };
}

/** A call's signal is aborted in any case; without an error of a call, either all was done or the caller hung up. */
function readCode(error: unknown, finished: boolean): string {
  if (error instanceof ConnectError) return toSnakeCase(Code[error.code]);
  if (finished) return "ok";
  return error instanceof Error && error.name === "AbortError" ? "canceled" : "internal";
}

function toSnakeCase(name: string): string {
  return name.replace(/(?<=[a-z])[A-Z]/g, "_$&").toLowerCase();
}
