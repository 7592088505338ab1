import { createServer } from "node:http";
import type { Socket } from "node:net";

import type { ConnectionLimits } from "./connection-limits.ts";
import type { RequestListener } from "./request-listener.ts";

export interface Http1 {
  /** Serves a connection that another server has taken. */
  take(socket: Socket): void;
  /** Lets every connection end with the request that it has, or with the next one. */
  close(): void;
  /** After `close`: ends the connections without a request, now and as they come to it. */
  closeIdle(): void;
}

/** How often connections are looked through for late headers and requests. */
const checkEveryMs = 1_000;

export function createHttp1(limits: ConnectionLimits, onRequest: RequestListener): Http1 {
  let used = false;
  let closing = false;
  let closingIdle = false;
  const server = createServer({
    maxHeaderSize: limits.headerBytesMax,
    headersTimeout: Math.min(limits.headersMs, limits.requestMs), // Node insists.
    requestTimeout: limits.requestMs,
    keepAliveTimeout: limits.idleMs,
    connectionsCheckingInterval: checkEveryMs,
  });
  server.maxHeadersCount = limits.headersMax;
  const callsOf = new WeakMap<Socket, number>();
  server.on("request", (request, response) => {
    const { socket } = request;
    const calls = (callsOf.get(socket) ?? 0) + 1;
    if (calls > limits.callsMax) {
      // Node hands over every request that has come, however many still wait for their answers.
      socket.destroy();
      return;
    }
    callsOf.set(socket, calls);
    response.once("close", () => callsOf.set(socket, (callsOf.get(socket) ?? 1) - 1));
    if (closing) response.setHeader("connection", "close");
    // A connection counts as idle only a moment after its answer is out.
    response.once("close", () => setImmediate(() => closingIdle && server.closeIdleConnections()));
    onRequest(request, response);
  });
  return {
    take(socket) {
      if (!used) {
        // Node looks for late headers and requests from this event on; it comes by itself to a server that has the port.
        server.emit("listening");
        used = true;
      }
      server.emit("connection", socket);
      socket.resume();
    },
    close() {
      closing = true;
    },
    closeIdle() {
      closingIdle = true;
      server.close();
    },
  };
}
