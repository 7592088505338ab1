import { Code, ConnectError, type StreamRequest, type UnaryRequest } from "@connectrpc/connect";
import {
  type Attributes,
  type Context,
  context,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from "@opentelemetry/api";
import {
  ATTR_ERROR_TYPE,
  ATTR_RPC_METHOD,
  ATTR_RPC_STATUS_CODE,
  ATTR_RPC_SYSTEM_NAME,
  ATTR_SERVER_ADDRESS,
  ATTR_SERVER_PORT,
  RPC_SYSTEM_NAME_VALUE_GRPC,
} from "@opentelemetry/semantic-conventions";

const tracer = trace.getTracer("rpc");
/** Not among the stable values of `rpc.system.name` yet. */
const connectSystem = "connectrpc";

/** One call's span. The first `end` counts: it comes from whoever knows first how the call went. */
export interface RpcSpan {
  /** With the span active. */
  readonly context: Context;
  end(error?: unknown): void;
}

/** Starts the span of a call, named `package.Service/Method`. `isFault` says which codes make it a failed span. */
export function startRpcSpan(
  request: UnaryRequest | StreamRequest,
  kind: SpanKind,
  parent: Context,
  isFault: (code: Code) => boolean,
): RpcSpan {
  const method = `${request.service.typeName}/${request.method.name}`;
  const isGrpc = request.header.get("content-type")?.startsWith("application/grpc") ?? false;
  const attributes = {
    [ATTR_RPC_SYSTEM_NAME]: isGrpc ? RPC_SYSTEM_NAME_VALUE_GRPC : connectSystem,
    [ATTR_RPC_METHOD]: method,
    ...(kind === SpanKind.CLIENT && addressOf(request.url)),
  };
  const span = tracer.startSpan(method, { kind, attributes }, parent);
  return {
    context: trace.setSpan(parent, span),
    end(error) {
      if (!span.isRecording()) return;
      recordStatus(span, error, isGrpc, isFault);
      span.end();
    },
  };
}

function addressOf(url: string): Attributes {
  const { hostname, port } = new URL(url);
  return { [ATTR_SERVER_ADDRESS]: hostname, ...(port !== "" && { [ATTR_SERVER_PORT]: Number(port) }) };
}

/** Lets a stream's every step run inside the span, which ends with the stream, however it ends. */
export async function* withinRpcSpan<T>(messages: AsyncIterable<T>, span: RpcSpan): AsyncGenerator<T> {
  const steps = messages[Symbol.asyncIterator]();
  let finished = false;
  try {
    for (;;) {
      const step = await context.with(span.context, () => steps.next());
      if (step.done) break;
      yield step.value;
    }
    finished = true;
  } catch (error) {
    finished = true;
    span.end(error);
    throw error;
  } finally {
    if (!finished) await context.with(span.context, () => steps.return?.());
    span.end();
  }
}

function recordStatus(span: Span, error: unknown, isGrpc: boolean, isFault: (code: Code) => boolean): void {
  if (error === undefined) {
    if (isGrpc) span.setAttribute(ATTR_RPC_STATUS_CODE, "OK");
    return;
  }
  const { code } = ConnectError.from(error);
  const snakeCase = (Code[code] ?? "Unknown").replaceAll(/(?<=[a-z])(?=[A-Z])/g, "_").toLowerCase();
  // gRPC writes CANCELLED, Connect canceled.
  const name = isGrpc ? snakeCase.replace("canceled", "cancelled").toUpperCase() : snakeCase;
  span.setAttribute(ATTR_RPC_STATUS_CODE, name);
  if (!isFault(code)) return;
  span.setAttribute(ATTR_ERROR_TYPE, name);
  span.setStatus({ code: SpanStatusCode.ERROR });
}
