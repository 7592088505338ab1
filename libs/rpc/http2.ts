import { createServer, type ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";

import type { ConnectionLimits } from "./connection-limits.ts";
import type { RequestListener } from "./request-listener.ts";

export interface Http2 {
  /** Serves a paused connection that another server has taken; the bytes that wait in it are read first. */
  take(socket: Socket): void;
  /**
   * Sends GOAWAY: sessions end with the calls that have arrived. Those on their way are refused, which says that nothing
   * was done for them. (A warning GOAWAY before the final one, as RFC 9113 has it, makes Node's own client fail them with
   * a protocol error.)
   */
  close(): void;
}

export function createHttp2(limits: ConnectionLimits, onRequest: RequestListener): Http2 {
  const sessions = new Set<ServerHttp2Session>();
  let closing = false;
  const server = createServer(
    {
      settings: { maxConcurrentStreams: limits.callsMax, maxHeaderListSize: limits.headerBytesMax },
      maxHeaderListPairs: limits.headersMax,
    },
    onRequest,
  );
  server.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
    limitIdleness(session, limits);
    if (closing) session.close();
  });
  return {
    take(socket) {
      // A peer that says no more has gone. Taken from a server with half-open sockets, the session would never notice.
      socket.once("end", () => socket.end());
      server.emit("connection", socket);
    },
    close() {
      closing = true;
      for (const session of sessions) session.close();
    },
  };
}

/** Ends a session that sends no settings, or that is without a call for long. (Node's own timeout outlives its session.) */
function limitIdleness(session: ServerHttp2Session, { headersMs, idleMs }: ConnectionLimits): void {
  let calls = 0;
  let timer: NodeJS.Timeout | undefined;
  const stop = () => clearTimeout(timer);
  const wait = (ms: number) => {
    stop();
    if (!session.destroyed) timer = setTimeout(() => session.destroy(), ms).unref();
  };
  session.on("stream", (stream) => {
    calls++;
    stop();
    stream.once("close", () => {
      calls--;
      if (calls === 0) wait(idleMs);
    });
  });
  wait(headersMs);
  session.once("remoteSettings", () => calls === 0 && wait(idleMs));
  session.once("close", stop);
}
