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
 * An `Http2SessionManager` whose sessions never lack an `error` listener: the one of connect-node 2.2 takes its own off
 * and then destroys a session that got a GOAWAY while idle, which ends the process (connect-es issue 1768).
 */
export function createSessionManager(url: string, options: Http2SessionOptions = {}): SessionManager {
  const manager = new Http2SessionManager(url, options);
  const guarded = new WeakSet<ClientHttp2Session>();

  function guard({ session }: ClientHttp2Stream): void {
    if (session === undefined || guarded.has(session as ClientHttp2Session)) return;
    guarded.add(session as ClientHttp2Session);
    session.on("error", () => {}); // Calls learn of it from their own streams.
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
