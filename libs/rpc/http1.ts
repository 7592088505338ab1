import { createServer } from "node:http";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import type { ConnectionLimits } from "./connection-limits.ts";
import type { RequestListener } from "./request-listener.ts";

export interface Http1 {
  /** Serves a connection that another server has taken. */
  take(socket: Socket): void;
  /**
   * Lets every connection end after the request that it has, or gets within `lingerMs`: one that looks idle may have a
   * request on its way, and HTTP/1.1 has no way to say that it was not touched.
   */
  close(lingerMs: number): Promise<void>;
}

/** How often connections are looked through for late headers and requests. */
const checkEveryMs = 1_000;

export function createHttp1(limits: ConnectionLimits, onRequest: RequestListener): Http1 {
  let used = false;
  let closing = false;
  let closingIdle = false;
  const closeIdle = () => {
    if (closingIdle) server.closeIdleConnections();
  };
  const server = createServer({
    maxHeaderSize: limits.headerBytesMax,
    headersTimeout: limits.headersMs,
    requestTimeout: limits.requestMs,
    keepAliveTimeout: limits.idleMs,
    connectionsCheckingInterval: checkEveryMs,
  });
  server.maxHeadersCount = limits.headersMax;
  server.on("request", (request, response) => {
    if (closing) response.setHeader("connection", "close");
    // A connection counts as idle only a moment after its answer is out.
    response.once("close", () => setImmediate(closeIdle));
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
    async close(lingerMs) {
      closing = true;
      await sleep(lingerMs);
      closingIdle = true;
      server.close();
    },
  };
}
