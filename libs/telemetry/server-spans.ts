import { Code, type Interceptor } from "@connectrpc/connect";
import { context, propagation, SpanKind, type TextMapGetter } from "@opentelemetry/api";
import { startRpcSpan, withinRpcSpan } from "./rpc-span.ts";

const fromHeaders: TextMapGetter<Headers> = {
  keys: (headers) => [...headers.keys()],
  get: (headers, key) => headers.get(key) ?? undefined,
};

/** The others are the caller's doing. Source: OpenTelemetry semantic conventions, gRPC server spans. */
const serverFaults: ReadonlySet<Code> = new Set([
  Code.Unknown,
  Code.DeadlineExceeded,
  Code.Unimplemented,
  Code.Internal,
  Code.Unavailable,
  Code.DataLoss,
]);

/**
 * Makes a SERVER span of every call, as a child of the caller's span if the headers carry one. It is active in the
 * handler, in streams too, and ends with the last message or when the caller has gone. To be the outermost interceptor.
 */
export const serverSpans: Interceptor = (next) => async (request) => {
  const parent = propagation.extract(context.active(), request.header, fromHeaders);
  const span = startRpcSpan(request, SpanKind.SERVER, parent, (code) => serverFaults.has(code));
  try {
    const response = await context.with(span.context, () => next(request));
    if (!response.stream) {
      span.end();
      return response;
    }
    request.signal.addEventListener("abort", () => span.end(request.signal.reason), { once: true });
    return { ...response, message: withinRpcSpan(response.message, span) };
  } catch (error) {
    span.end(error);
    throw error;
  }
};
