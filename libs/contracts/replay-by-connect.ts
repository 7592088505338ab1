import { ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import type { DescMethod, Message } from "@bufbuild/protobuf";
import { createSessionManager } from "#libs/rpc/session-manager.ts";

import { nameOfCode } from "./codes.ts";
import { patienceMs, type ErrorDetail, type Replay, type ReplayRequest } from "./replay.ts";

/** Replays over gRPC with connect-node. */
export const replayByConnect: Replay = async (replay) => {
  using sessions = createSessionManager(replay.url);
  const hangUp = new AbortController();
  const patience = AbortSignal.timeout(patienceMs);
  const metadata = new Headers();
  const keep = (headers: Headers): void => headers.forEach((value, name) => metadata.append(name, value));
  const transport = createGrpcTransport({ baseUrl: replay.url, sessionManager: sessions });
  const client = createClient(replay.method.parent, transport);
  const messages: Message[] = [];
  try {
    const call = toCall(client, replay.method);
    const answer = call(replay.request, {
      signal: AbortSignal.any([hangUp.signal, patience]),
      headers: replay.metadata.map(([name, value]): [string, string] => [name, value]),
      ...(replay.deadlineMs !== undefined && { timeoutMs: replay.deadlineMs }),
      onHeader: keep,
      onTrailer: keep,
    });
    await collect(answer, replay, messages);
    hangUp.abort();
    return { code: "OK", messages, metadata, details: [] };
  } catch (error) {
    patience.throwIfAborted();
    const refusal = ConnectError.from(error);
    keep(refusal.metadata);
    return { code: nameOfCode(refusal.code), messages, metadata, details: readDetails(refusal) };
  }
};

type Answer = Promise<Message> | AsyncIterable<Message>;
type Call = (request: Message, options: object) => Answer;

/** A client has one function a method; of a service that is only known at run time, so are they. */
function toCall(client: object, { localName, methodKind, name }: DescMethod): Call {
  if (methodKind !== "unary" && methodKind !== "server_streaming") {
    throw new Error(`${name} takes a stream of requests, which cannot be replayed`);
  }
  return (client as Record<string, Call>)[localName]!; // It was made of the service that the method is of.
}

async function collect(answer: Answer, { messagesMax }: ReplayRequest, messages: Message[]): Promise<void> {
  if (answer instanceof Promise) {
    messages.push(await answer);
    return;
  }
  for await (const message of answer) {
    messages.push(message);
    if (messages.length === messagesMax) return;
  }
}

function readDetails({ details }: ConnectError): ErrorDetail[] {
  return details.flatMap((detail) =>
    "type" in detail ? [{ typeName: detail.type, value: detail.value }] : [],
  );
}
