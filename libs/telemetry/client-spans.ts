import type { Interceptor } from "@connectrpc/connect";
import { context, propagation, SpanKind, type TextMapSetter } from "@opentelemetry/api";
import { startRpcSpan, withinRpcSpan } from "./rpc-span.ts";

const intoHeaders: TextMapSetter<Headers> = { set: (headers, key, value) => headers.set(key, value) };

/**
 * Makes a CLIENT span of every call and tells the server of it (`traceparent`). Every code but success makes it a failed
 * span. A stream's span ends with the last message, when the reader stops, or when the call is aborted.
 */
export const clientSpans: Interceptor = (next) => async (request) => {
  const span = startRpcSpan(request, SpanKind.CLIENT, context.active(), () => true);
  propagation.inject(span.context, request.header, intoHeaders);
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
