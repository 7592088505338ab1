import { once } from "node:events";
import { createServer, type Http2Server, type ServerHttp2Session } from "node:http2";

import {
  fromJson,
  toJson,
  type DescFile,
  type DescMethod,
  type JsonObject,
  type Message,
} from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { bind } from "#libs/rpc/bind.ts";
import { whenAborted } from "#libs/rpc/when-aborted.ts";

import { findCallFaults, type ReceivedCall } from "./check-call.ts";
import { toCode } from "./codes.ts";
import type { ExpectedMessage, Interaction, Metadata, RefusalAnswer } from "./contract.ts";
import { expectedDetails } from "./error-details.ts";
import { fillMetadata, fillWithExamples } from "./fill.ts";
import { nameOfMethod } from "./find-uses.ts";

export interface StandIn extends AsyncDisposable {
  readonly url: string;
  /** Calls that no interaction expects, each with what was other about it. */
  readonly unexpected: readonly string[];
  /** Interactions that were called; one may be called more than once. */
  readonly exercised: ReadonlySet<Interaction>;
}

/**
 * Serves in the place of a provider, over HTTP/2 without TLS: answers from the interactions and fills only the fields that
 * they name. Everything else is refused and remembered. Of interactions that expect the same call, those not called yet
 * come first.
 */
export async function startStandIn(
  files: readonly DescFile[],
  interactions: readonly Interaction[],
): Promise<StandIn> {
  const unexpected: string[] = [];
  const exercised = new Set<Interaction>();

  function choose(method: DescMethod, received: ReceivedCall): Interaction {
    const name = nameOfMethod(method);
    const candidates = interactions.filter(({ call }) => call.method === name);
    const judged = candidates.map((interaction) => ({
      interaction,
      faults: findCallFaults(interaction.call, received),
    }));
    const fitting = judged.filter(({ faults }) => faults.length === 0).map(({ interaction }) => interaction);
    const chosen = fitting.find((interaction) => !exercised.has(interaction)) ?? fitting[0];
    if (chosen !== undefined) {
      exercised.add(chosen);
      return chosen;
    }
    const lines = judged.flatMap(({ interaction, faults }) =>
      faults.map((fault) => `\n    not "${interaction.name}": ${fault}`),
    );
    const problem = `${name} was called, which no interaction expects${lines.join("")}`;
    unexpected.push(problem);
    throw new ConnectError(problem, Code.Internal);
  }

  const server = createServer(
    connectNodeAdapter({
      routes: (router) => addRoutes(router, files, choose),
      fallback(request, response) {
        unexpected.push(`${request.url} was called, which the provider does not have`);
        response.statusCode = 404;
        response.end();
      },
    }),
  );
  const close = keepSessions(server);
  const { url } = await bind(server, "127.0.0.1", 0);
  return { url, unexpected, exercised, [Symbol.asyncDispose]: close };
}

type Choose = (method: DescMethod, received: ReceivedCall) => Interaction;

function addRoutes(router: ConnectRouter, files: readonly DescFile[], choose: Choose): void {
  for (const service of files.flatMap(({ services }) => services)) {
    const methods = service.methods.map((method) => [method.localName, toHandler(method, choose)]);
    router.service(service, Object.fromEntries(methods));
  }
}

/** Contracts do not tell of streams of requests: a method that takes one is refused by Connect. */
function toHandler(method: DescMethod, choose: Choose) {
  const receive = (request: Message, context: HandlerContext): Interaction =>
    choose(method, {
      request: toJson(method.input, request),
      header: context.requestHeader,
      timeoutMs: context.timeoutMs(),
    });
  switch (method.methodKind) {
    case "unary":
      return (request: Message, context: HandlerContext) =>
        answerOne(method, receive(request, context), context);
    case "server_streaming":
      return (request: Message, context: HandlerContext) =>
        answerMany(method, receive(request, context), context);
    default:
      return undefined;
  }
}

function answerOne(method: DescMethod, { name, answer }: Interaction, context: HandlerContext): Message {
  setHeaders(context, answer.metadata);
  if ("message" in answer) return toMessage(method, answer.message);
  if ("messages" in answer) throw new Error(`"${name}" answers with a stream, and ${method.name} gives none`);
  throw toRefusal(name, answer);
}

async function* answerMany(
  method: DescMethod,
  { name, answer }: Interaction,
  context: HandlerContext,
): AsyncIterable<Message> {
  setHeaders(context, answer.metadata);
  if ("message" in answer) throw new Error(`"${name}" answers with one message, and ${method.name} streams`);
  if (!("messages" in answer)) throw toRefusal(name, answer);
  for (const message of answer.messages) yield toMessage(method, message);
  if (answer.end === "open") await new Promise<void>((gone) => whenAborted(context.signal, gone));
}

function toMessage({ output }: DescMethod, message: ExpectedMessage): Message {
  return fromJson(output, fillWithExamples(message) as JsonObject); // Read-only lists are not written to.
}

function toRefusal(name: string, answer: RefusalAnswer): ConnectError {
  const details = Array.from(expectedDetails(answer), ([desc, fields]) => ({
    desc,
    value: fromJson(desc, fillWithExamples(fields) as JsonObject),
  }));
  return new ConnectError(`as agreed in "${name}"`, toCode(answer.code), undefined, details);
}

function setHeaders(context: HandlerContext, metadata: Metadata = {}): void {
  for (const [name, value] of fillMetadata(metadata)) context.responseHeader.set(name, value);
}

/** `close` of Node's server leaves sessions open. */
function keepSessions(server: Http2Server): () => Promise<void> {
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => {}); // The caller learns of it.
    session.once("close", () => sessions.delete(session));
  });
  return async () => {
    const closed = once(server, "close");
    server.close();
    for (const session of sessions) session.destroy();
    await closed;
  };
}
