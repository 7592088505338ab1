import { createServer, type IncomingMessage, type ServerResponse } from "node:http";

import { bind } from "./bind.ts";
import type { OperatorPages } from "./operator-pages.ts";

export interface OperationsOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly version: string;
  readonly commit: string;
  /** Whether starting has come to its end. */
  readonly isStarted: () => boolean;
  /** Whether calls should be sent here. */
  readonly isReady: () => boolean;
  /** In Prometheus' text format; `undefined` where nothing is measured. Has a time limit of its own. */
  readonly metrics: () => Promise<string | undefined>;
  /** Pages with more to tell, which ask for a token. */
  readonly operatorPages?: OperatorPages;
}

export interface OperationsServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
}

interface Page {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

const connectionsMax = 64;
const headerBytesMax = 8_192;
const requestMs = 5_000;

/** Tells whoever operates the service how it is, over HTTP/1.1 beside the RPCs. Throws `PortTakenError`. */
export async function listenForOperations(options: OperationsOptions): Promise<OperationsServer> {
  const { version, commit, isStarted, isReady, metrics, operatorPages } = options;
  const pages: Pages = {
    "/livez": () => verdict(true),
    "/readyz": () => verdict(isReady()),
    "/startupz": () => verdict(isStarted()),
    "/metrics": async () => toPage(await metrics()),
    "/version": () => json({ version, commit, node: process.versions.node }),
  };
  const server = createServer(
    {
      maxHeaderSize: headerBytesMax,
      headersTimeout: requestMs,
      requestTimeout: requestMs,
      keepAliveTimeout: requestMs,
      connectionsCheckingInterval: requestMs / 5,
    },
    (request, response) => {
      if (operatorPages?.(request, response)) return;
      void answer(pages, request).then((page) => send(response, page));
    },
  );
  server.maxConnections = connectionsMax;
  // Bytes that come to nothing, a connection that is never used: closed for want of a request.
  server.setTimeout(2 * requestMs);
  const { port, url } = await bind(server, options.host, options.port);
  return {
    url,
    port,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

type Pages = Readonly<Record<string, () => Page | Promise<Page>>>;

async function answer(pages: Pages, { method, url }: IncomingMessage): Promise<Page> {
  const path = url?.split("?", 1)[0] ?? "";
  const page = pages[path];
  if (page === undefined) return text(404, "not found");
  if (method !== "GET" && method !== "HEAD") return text(405, "method not allowed");
  try {
    return await page();
  } catch {
    return text(500, "internal error");
  }
}

function send(response: ServerResponse, { status, type, body }: Page): void {
  response.writeHead(status, { "content-type": type, "cache-control": "no-store" });
  response.end(body);
}

function verdict(good: boolean): Page {
  return good ? text(200, "ok") : text(503, "not ready");
}

function text(status: number, body: string): Page {
  return { status, type: "text/plain; charset=utf-8", body };
}

function toPage(metrics: string | undefined): Page {
  if (metrics === undefined) return text(404, "nothing is measured here");
  return { status: 200, type: "text/plain; version=0.0.4; charset=utf-8", body: metrics };
}

function json(value: unknown): Page {
  return { status: 200, type: "application/json", body: `${JSON.stringify(value)}\n` };
}
