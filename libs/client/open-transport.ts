import { Code, ConnectError, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { createSessionManager } from "#libs/rpc/session-manager.ts";
import { clientSpans } from "#libs/telemetry/client-spans.ts";

export interface ClientOptions {
  /** Where the service is, such as `http://127.0.0.1:7080`. */
  readonly url: string;
  /** The bearer token, or what gives one: asked before every call, so that a renewed token is picked up. */
  readonly token: string | (() => string | Promise<string>);
  /** How long a call may take that sets no limit of its own; the service is told. Default 5,000. */
  readonly defaultTimeoutMs?: number;
}

/** Disposing closes the connection; calls under way fail. */
export interface OpenTransport extends AsyncDisposable {
  readonly transport: Transport;
}

const defaultTimeoutMs = 5_000;
/** Below the services' own limit, so that it is we who close an idle connection. */
const idleConnectionTimeoutMs = 120_000;
/** What the services answer with at most. */
const readMaxBytes = 64 * 1024 * 1024;

/** Opens a gRPC transport: one connection, made at the first call and made anew when it is lost. */
export function openTransport(options: ClientOptions): OpenTransport {
  const sessions = createSessionManager(options.url, {
    pulse: { intervalMs: 10_000, timeoutMs: 3_000 },
    idleConnectionTimeoutMs,
  });
  const inner = createGrpcTransport({
    baseUrl: options.url,
    sessionManager: sessions,
    interceptors: [clientSpans, withToken(options.token)],
    defaultTimeoutMs: options.defaultTimeoutMs ?? defaultTimeoutMs,
    readMaxBytes,
  });
  const transport: Transport = {
    unary(method, signal, timeoutMs, ...rest) {
      refuseSpent(timeoutMs);
      return inner.unary(method, signal, timeoutMs, ...rest);
    },
    stream(method, signal, timeoutMs, ...rest) {
      refuseSpent(timeoutMs);
      return inner.stream(method, signal, timeoutMs, ...rest);
    },
  };
  return {
    transport,
    [Symbol.asyncDispose]: async () => sessions.abort(),
  };
}

/** To connect-node a timeout of 0 or less means no deadline: a spent budget would become an endless call. */
function refuseSpent(timeoutMs: number | undefined): void {
  if (timeoutMs !== undefined && timeoutMs <= 0) {
    throw new ConnectError("no time is left for this call", Code.DeadlineExceeded);
  }
}

function withToken(token: ClientOptions["token"]): Interceptor {
  const read = typeof token === "string" ? () => token : token;
  return (next) => async (request) => {
    request.header.set("authorization", `Bearer ${await read()}`);
    return next(request);
  };
}
