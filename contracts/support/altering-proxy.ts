import { once } from "node:events";
import { createServer, type ServerHttp2Session } from "node:http2";

import type { DescMethod, DescService, Message } from "@bufbuild/protobuf";
import { ConnectError, type HandlerContext, type Transport } from "@connectrpc/connect";
import { connectNodeAdapter, createGrpcTransport } from "@connectrpc/connect-node";
import { bind } from "#libs/rpc/bind.ts";
import { createSessionManager } from "#libs/rpc/session-manager.ts";

/** What a provider would do differently: made in the answer, in place, or in the refusal that comes instead. */
export interface Alteration {
  readonly answer?: (method: DescMethod, message: Message) => void;
  readonly refusal?: (error: ConnectError) => ConnectError;
}

export interface AlteringProxy extends AsyncDisposable {
  readonly url: string;
}

/** Stands before a real service and passes each unary call on, but for one planted change. */
export async function startAlteringProxy(
  target: string,
  service: DescService,
  alteration: Alteration,
): Promise<AlteringProxy> {
  const sessions = createSessionManager(target);
  const transport = createGrpcTransport({ baseUrl: target, sessionManager: sessions });
  const methods = service.methods
    .filter(({ methodKind }) => methodKind === "unary")
    .map((method) => [
      method.localName,
      (request: Message, context: HandlerContext) => pass(transport, method, request, context, alteration),
    ]);
  const routes = connectNodeAdapter({
    routes: (router) => router.service(service, Object.fromEntries(methods)),
  });
  const server = createServer(routes);
  const open = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    open.add(session);
    session.once("close", () => open.delete(session));
  });
  const { url } = await bind(server, "127.0.0.1", 0);
  return {
    url,
    async [Symbol.asyncDispose]() {
      sessions.abort();
      const closed = once(server, "close");
      server.close();
      for (const session of open) session.destroy();
      await closed;
    },
  };
}

async function pass(
  transport: Transport,
  method: DescMethod,
  request: Message,
  context: HandlerContext,
  { answer, refusal }: Alteration,
): Promise<Message> {
  const header = new Headers();
  for (const name of ["authorization", "x-correlation-id"]) {
    const value = context.requestHeader.get(name);
    if (value !== null) header.set(name, value);
  }
  try {
    const unary = method as DescMethod & { methodKind: "unary" }; // Only those are passed on.
    const { message, header: answered } = await transport.unary(
      unary,
      context.signal,
      context.timeoutMs(),
      header,
      request,
    );
    const replayed = answered.get("caseflow-replayed");
    if (replayed !== null) context.responseHeader.set("caseflow-replayed", replayed);
    answer?.(method, message);
    return message;
  } catch (error) {
    const { rawMessage, code, details } = ConnectError.from(error);
    const passedOn = new ConnectError(rawMessage, code);
    passedOn.details = details;
    throw refusal ? refusal(passedOn) : passedOn;
  }
}
