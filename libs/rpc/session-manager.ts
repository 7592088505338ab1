import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";

import { Code, ConnectError } from "@connectrpc/connect";
import {
  Http2SessionManager,
  type GrpcTransportOptions,
  type Http2SessionOptions,
} from "@connectrpc/connect-node";

type TransportSessionManager = NonNullable<GrpcTransportOptions["sessionManager"]>;

/** What connect-node's transports take as their `sessionManager`, to be closed by its owner. */
export interface SessionManager extends TransportSessionManager, Disposable {
  /** Closes the connection and ends its calls. A later call opens another one. */
  abort(): void;
}

/**
 * How a peer that has gone without a word is noticed. connect-node's own pings are not used: their timer outlives the session
 * and then throws where nobody can catch it.
 */
export interface Pulse {
  /** From one question to the next. */
  readonly intervalMs: number;
  /** A session that has not answered by then is destroyed, and its calls fail. */
  readonly timeoutMs: number;
}

export interface SessionManagerOptions extends Pick<Http2SessionOptions, "idleConnectionTimeoutMs"> {
  readonly pulse?: Pulse;
}

/**
 * An `Http2SessionManager` whose sessions never lack an `error` listener: the one of connect-node 2.2 takes its own off
 * and then destroys a session that got a GOAWAY while idle, which ends the process (connect-es issue 1768).
 */
export function createSessionManager(url: string, options: SessionManagerOptions = {}): SessionManager {
  const manager = new Http2SessionManager(url, options);
  const guarded = new WeakSet<ClientHttp2Session>();

  function guard({ session }: ClientHttp2Stream): void {
    if (session === undefined || guarded.has(session as ClientHttp2Session)) return;
    guarded.add(session as ClientHttp2Session);
    session.on("error", () => {}); // Calls learn of it from their own streams.
    if (options.pulse) takePulse(session as ClientHttp2Session, options.pulse);
  }

  const abort = () => manager.abort(new ConnectError("the client is closed", Code.Canceled));
  return {
    authority: manager.authority,
    async request(...request) {
      const stream = await manager.request(...request);
      guard(stream);
      return stream;
    },
    notifyResponseByteRead: (stream) => manager.notifyResponseByteRead(stream),
    abort,
    [Symbol.dispose]: abort,
  };
}

/** Pings for as long as the session lives; holds no process open. */
function takePulse(session: ClientHttp2Session, { intervalMs, timeoutMs }: Pulse): void {
  let late: NodeJS.Timeout | undefined;
  const timer = setInterval(() => {
    if (session.destroyed || session.closed || late !== undefined) return;
    late = setTimeout(() => session.destroy(new Error("the peer does not answer pings")), timeoutMs).unref();
    session.ping(() => {
      clearTimeout(late);
      late = undefined;
    });
  }, intervalMs).unref();
  session.once("close", () => {
    clearInterval(timer);
    clearTimeout(late);
  });
}
