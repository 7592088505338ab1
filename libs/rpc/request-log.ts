import { AsyncLocalStorage } from "node:async_hooks";

import { ConnectError, createContextKey, type HandlerContext, type Interceptor } from "@connectrpc/connect";

import { ErrorInfoSchema } from "#libs/gen/google/rpc/error_details_pb.ts";

import { notesOf, type CallNotes } from "./call-notes.ts";
import { codeName } from "./code-name.ts";
import { statusKey } from "./faults.ts";
import { mapIterable } from "./map-iterable.ts";
import { principalKey } from "./principal.ts";
import { factsOf, type CallFacts } from "./request-context.ts";
import { goneKey } from "./connection-signals.ts";
import { whenAborted } from "./when-aborted.ts";

export interface RequestLogLine extends CallFacts {
  readonly tenant: string | undefined;
  readonly principal: string | undefined;
  /** `ok`, or the status as the gRPC specification writes it in lower case, `not_found`. */
  readonly code: string;
  /** `ErrorInfo.reason`. */
  readonly reason: string | undefined;
  /** From the headers of the request to the end of the answer. */
  readonly durationMs: number;
  readonly streaming: boolean;
  /** `grpc`, `grpc-web` or `connect`. */
  readonly protocol: string;
  /** What else it is known by. */
  readonly notes: CallNotes;
}

export interface RequestLog {
  readonly watch: (context: HandlerContext) => void;
  /** Learns whether the handler came to its end, and in which trace the line belongs. */
  readonly interceptor: Interceptor;
}

interface Progress {
  finished: boolean;
  inTrace: (work: () => void) => void;
}

const progressKey = createContextKey<Progress | undefined>(undefined, { description: "progress" });

/**
 * Writes one line a call, when its answer is out or its caller has gone: also for calls that were refused before any
 * interceptor ran, and for streams.
 */
export function requestLog(log: (line: RequestLogLine) => void): RequestLog {
  return {
    watch(context) {
      const startedAt = performance.now();
      const progress: Progress = { finished: false, inTrace: (work) => work() };
      context.values.set(progressKey, progress);
      whenAborted(context.values.get(goneKey), () => {
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
  const { values, method, signal, protocolName } = context;
  const principal = values.get(principalKey);
  const status = values.get(statusKey) ?? (finished ? undefined : ConnectError.from(signal.reason));
  return {
    ...factsOf(values, method),
    tenant: principal?.tenantId,
    principal: principal?.id,
    code: status === undefined ? "ok" : codeName(status.code),
    reason: status?.findDetails(ErrorInfoSchema)[0]?.reason,
    streaming: method.methodKind !== "unary",
    protocol: protocolName,
    notes: notesOf(values),
  };
}
