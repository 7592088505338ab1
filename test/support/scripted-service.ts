import { once } from "node:events";
import {
  constants,
  createServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from "node:http2";
import type { AddressInfo } from "node:net";

import { ConnectError, type HandlerContext } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";

import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { Health, HealthCheckResponse_ServingStatus } from "#libs/gen/grpc/health/v1/health_pb.ts";

/** What becomes of one request. A function is the handler; `{ reset }` is an HTTP/2 error code. */
export type Act =
  | "answer"
  | "hang"
  | "cut"
  | "cut in the answer"
  | "go away"
  | { readonly reset: number }
  | ConnectError
  | ((context: HandlerContext) => Promise<void>);

export interface ScriptedCall {
  readonly method: string;
  readonly header: Headers;
  /** Of the message. */
  readonly requestId: string;
}

/** A server of both protocols that fails as it is told to, on the wire or in its answer. */
export interface ScriptedService extends AsyncDisposable {
  readonly url: string;
  /** Requests that came, by their headers, whatever became of them. */
  readonly requests: { readonly path: string; readonly header: Headers }[];
  /** Calls that reached a handler. */
  readonly calls: ScriptedCall[];
  readonly sessions: Set<ServerHttp2Session>;
  /** What becomes of the next requests, in turn; the last goes on. Health is asked beside it. */
  acts: readonly Act[];
  serving: boolean;
  received(count: number): Promise<void>;
}

const indexHeader = "x-request-index";

export function startScriptedService(...acts: readonly Act[]): Promise<ScriptedService> {
  return startScriptedServiceOn(0, ...acts);
}

/** On a port that is known before. */
export async function startScriptedServiceOn(
  port: number,
  ...acts: readonly Act[]
): Promise<ScriptedService> {
  const calls: ScriptedCall[] = [];
  const requests: { path: string; header: Headers }[] = [];
  const sessions = new Set<ServerHttp2Session>();
  let progress = Promise.withResolvers<void>();
  const actOf = (index: number) => service.acts[index] ?? service.acts.at(-1) ?? "answer";

  async function handle(message: object, context: HandlerContext): Promise<object> {
    const requestId = "requestId" in message ? String(message.requestId) : "";
    calls.push({ method: context.method.name, header: context.requestHeader, requestId });
    const act = actOf(Number(context.requestHeader.get(indexHeader)));
    if (act instanceof ConnectError) throw act;
    if (typeof act === "function") await act(context);
    return {};
  }
  const adapter = connectNodeAdapter({
    routes: (router) => {
      router.service(CaseService, {
        getCase: handle,
        createCase: handle,
        submitCase: handle,
        async *watchCases(message, context) {
          await handle(message, context);
          yield {};
          if (!context.requestHeader.has("x-stay")) return;
          await once(context.signal, "abort");
          throw context.signal.reason;
        },
      });
      router.service(Health, {
        check: async (message, context) => {
          if (message.service !== "") return handle(message, context);
          const { SERVING, NOT_SERVING } = HealthCheckResponse_ServingStatus;
          return { status: service.serving ? SERVING : NOT_SERVING };
        },
      });
    },
  });

  function onRequest(request: Http2ServerRequest, response: Http2ServerResponse): void {
    const isHealth = request.url.startsWith("/grpc.health") && request.headers["x-scripted"] === undefined;
    if (isHealth) return adapter(request, response);
    const act = actOf(requests.length);
    const { stream } = request;
    stream.on("error", () => {});
    request.headers[indexHeader] = String(requests.length);
    requests.push({ path: request.url, header: new Headers(plain(request.headers)) });
    progress.resolve();
    progress = Promise.withResolvers();
    if (act === "hang") return void request.resume();
    if (act === "cut") return stream.session?.destroy();
    if (act === "go away") stream.session?.goaway(constants.NGHTTP2_NO_ERROR, 0);
    if (act === "cut in the answer") {
      stream.respond({ ":status": 200, "content-type": String(request.headers["content-type"]) });
      stream.write(Buffer.of(0, 0, 0, 0, 9, 1), () => setImmediate(() => stream.session?.destroy()));
      return;
    }
    if (typeof act === "object" && "reset" in act) return stream.close(act.reset);
    adapter(request, response);
  }
  const server = createServer(onRequest).listen(port, "127.0.0.1");
  server.on("session", (session) => {
    sessions.add(session.on("error", () => {}));
    session.once("close", () => sessions.delete(session));
  });
  await once(server, "listening");
  const { port: taken } = server.address() as AddressInfo; // It listens on TCP.
  const service: ScriptedService = {
    url: `http://127.0.0.1:${taken}`,
    requests,
    calls,
    sessions,
    acts,
    serving: true,
    async received(count) {
      while (requests.length < count) await progress.promise;
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const session of sessions) session.destroy();
      await closed;
    },
  };
  return service;
}

function plain(headers: Http2ServerRequest["headers"]): [string, string][] {
  return Object.entries(headers).flatMap(([name, value]) =>
    typeof value === "string" && !name.startsWith(":") ? [[name, value] as [string, string]] : [],
  );
}
