import { createServer, type Socket } from "node:net";

import {
  Code,
  ConnectError,
  createConnectRouter,
  type ConnectRouter,
  type HandlerContext,
  type Interceptor,
} from "@connectrpc/connect";
import { compressionGzip } from "@connectrpc/connect-node";

import { endsWithin } from "#libs/resilience/ends-within.ts";

import { bind } from "./bind.ts";
import { defaultLimits, type ConnectionLimits } from "./connection-limits.ts";
import { stopReadingKey } from "./connection-signals.ts";
import { createHttp1 } from "./http1.ts";
import { createHttp2 } from "./http2.ts";
import { readProtocol } from "./read-protocol.ts";
import { createRequestListener } from "./request-listener.ts";
import { whenAborted } from "./when-aborted.ts";

export interface ListenOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly routes: (router: ConnectRouter) => void;
  /** Runs once a call, before its body is read; what it throws ends the call. */
  readonly requestGate?: (context: HandlerContext) => void | Promise<void>;
  /** Outermost first. */
  readonly interceptors?: readonly Interceptor[];
  /** The largest message taken, decompressed. */
  readonly readMaxBytes: number;
  /** The largest message given. */
  readonly writeMaxBytes: number;
  /** Told of faults that no caller could be told of. */
  readonly onFailure: (error: unknown) => void;
  readonly limits?: Partial<ConnectionLimits>;
}

export interface RpcServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /**
   * Takes no more connections and no more calls, waits at most `drainMs` for the calls in flight, then ends them. Later
   * calls of it wait for the first.
   */
  stop(options: { readonly drainMs: number }): Promise<void>;
}

/** How long calls that are ended by `stop` have to say so to their callers. */
const lastWordsMs = 250;

/**
 * How long connections without a call outlive a stop, but for HTTP/2: there may be a request on its way, and HTTP/1.1 has
 * no way to tell its caller that nothing was done about it.
 */
const lingerMs = 100;

/**
 * Connect passes them on to its serialization, which takes a decoder too: its own would put U+FFFD in place of bytes that are
 * no UTF-8, and so have another text stored than was sent.
 */
const jsonOptions = { ignoreUnknownFields: false, textDecoder: new TextDecoder("utf-8", { fatal: true }) };

/**
 * Serves gRPC, gRPC-Web and Connect on one port without TLS, over HTTP/2 (known by its preface) and HTTP/1.1. Throws
 * `PortTakenError`.
 *
 * Unknown fields are refused in JSON, where they are typing errors, and ignored in binary, where they are newer schemas.
 */
export async function listen(options: ListenOptions): Promise<RpcServer> {
  const limits = { ...defaultLimits, ...options.limits };
  const stopping = new AbortController();
  const idleOver = new AbortController();
  const callsOver = new AbortController();
  const router = createConnectRouter({
    // Brotli is left out: answering in it costs seconds of CPU a megabyte, at the caller's choice.
    acceptCompression: [compressionGzip],
    readMaxBytes: options.readMaxBytes,
    writeMaxBytes: options.writeMaxBytes,
    jsonOptions,
    interceptors: [...(options.interceptors ?? [])],
    shutdownSignal: callsOver.signal,
    async requestGate(context) {
      // From here on handlers look at their signal, but nobody does while the request is on its way.
      whenAborted(context.signal, () => context.values.get(stopReadingKey)(context.signal.reason));
      await options.requestGate?.(context);
    },
  });
  options.routes(router);
  const onRequest = createRequestListener({
    handlers: router.handlers,
    requestMs: limits.requestMs,
    unreadMs: limits.unreadMs,
    stopping: stopping.signal,
    onFailure: options.onFailure,
  });

  const http1 = createHttp1(limits, onRequest);
  const http2 = createHttp2(limits, onRequest);
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => {}); // Its end is told by `close`; without a listener it would end the process.
    readProtocol(socket, limits.firstBytesMs, idleOver.signal, (protocol) =>
      (protocol === "http2" ? http2 : http1).take(socket),
    );
  });
  server.maxConnections = limits.connectionsMax;
  const { port, url } = await bind(server, options.host, options.port);

  async function drain(drainMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    stopping.abort();
    http2.close();
    http1.close();
    const lingering = setTimeout(
      () => {
        http1.closeIdle();
        idleOver.abort();
      },
      Math.min(lingerMs, drainMs),
    );
    if (await endsWithin(drainMs, closed)) return clearTimeout(lingering);
    callsOver.abort(new ConnectError("the server is stopping", Code.Unavailable));
    if (await endsWithin(lastWordsMs, closed)) return;
    for (const socket of sockets) socket.destroy();
    await closed;
  }
  let stopped: Promise<void> | undefined;
  const stop = ({ drainMs }: { readonly drainMs: number }) =>
    (stopped ??= drain(drainMs).finally(http1.closeIdle));
  return { url, port, stop, [Symbol.asyncDispose]: () => stop({ drainMs: 0 }) };
}
