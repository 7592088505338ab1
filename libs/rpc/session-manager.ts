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
  /** A connection that is not there by then is given up, and the calls that wait for it fail; in milliseconds. */
  readonly connectTimeoutMs?: number;
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

  /** Left to itself a connection to a host that answers nothing stays for minutes, and every call waits for it. */
  function startConnectTimer(): NodeJS.Timeout | undefined {
    const { connectTimeoutMs } = options;
    if (connectTimeoutMs === undefined) return undefined;
    const giveUp = () => {
      if (manager.state() !== "connecting") return;
      const cause = Object.assign(new Error("no connection in time"), {
        code: "ETIMEDOUT",
        syscall: "connect",
      });
      manager.abort(new ConnectError(cause.message, Code.Unavailable, undefined, undefined, cause));
    };
    return setTimeout(giveUp, connectTimeoutMs);
  }

  const abort = () => manager.abort(new ConnectError("the client is closed", Code.Canceled));
  return {
    authority: manager.authority,
    async request(...request) {
      const wait = startConnectTimer();
      try {
        const stream = await manager.request(...request);
        guard(stream);
        return stream;
      } finally {
        clearTimeout(wait);
      }
    },
    notifyResponseByteRead: (stream) => manager.notifyResponseByteRead(stream),
    abort,
    [Symbol.dispose]: abort,
  };
}

/**
 * Pings for as long as the session lives; holds no process open. After a goodbye Node sends no ping, and the calls that are
 * still on the connection have their deadlines alone.
 */
function takePulse(session: ClientHttp2Session, { intervalMs, timeoutMs }: Pulse): void {
  let late: NodeJS.Timeout | undefined;
  const timer = setInterval(() => {
    if (session.destroyed || session.closed || late !== undefined) return;
    late = setTimeout(() => session.destroy(noPulse()), timeoutMs).unref();
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

function noPulse(): ConnectError {
  return new ConnectError("the peer does not answer pings", Code.Unavailable);
}
