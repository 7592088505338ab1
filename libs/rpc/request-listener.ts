import type { IncomingMessage, ServerResponse } from "node:http";
import { constants, type Http2ServerRequest, type Http2ServerResponse } from "node:http2";

import { Code, ConnectError, createContextValues } from "@connectrpc/connect";
import { universalResponseToNodeResponse } from "@connectrpc/connect-node";
import type { UniversalHandler, UniversalServerRequest } from "@connectrpc/connect/protocol";

import { isEndlessTimeout } from "./endless-timeout.ts";
import { goneKey, stoppingKey, stopReadingKey } from "./connection-signals.ts";
import { paceAnswer } from "./pace-answer.ts";
import { readBody } from "./read-body.ts";

export type NodeRequest = IncomingMessage | Http2ServerRequest;
export type NodeResponse = ServerResponse | Http2ServerResponse;

export type RequestListener = (request: NodeRequest, response: NodeResponse) => void;

export interface RequestListenerOptions {
  readonly handlers: readonly UniversalHandler[];
  /** How long the body of a call with one request message may take, in milliseconds. */
  readonly requestMs: number;
  /** How long an answer may wait for a caller who takes nothing of it, in milliseconds. */
  readonly unreadMs: number;
  readonly stopping: AbortSignal;
  /** Told of faults that no caller could be told of. */
  readonly onFailure: (error: unknown) => void;
}

/**
 * Serves Connect's handlers on requests of Node, HTTP/1.1 and HTTP/2 alike.
 *
 * It stands in for `connectNodeAdapter` of connect-node 2.2, which lets a request without a usable host end the process
 * (it throws inside the event), leaves a call whose error cannot be written hanging, and reports to the console.
 */
export function createRequestListener(options: RequestListenerOptions): RequestListener {
  const byPath = new Map(options.handlers.map((handler) => [handler.requestPath, handler]));
  return (request, response) => {
    const handler = byPath.get(request.url?.split("?", 1)[0] ?? "");
    if (handler === undefined) return refuse(response, 404);
    let call: UniversalServerRequest;
    try {
      call = readRequest(request, response, options.stopping);
    } catch {
      return refuse(response, 400);
    }
    if (handler.method.methodKind === "unary" || handler.method.methodKind === "server_streaming") {
      limitBody(request, response, options.requestMs);
    }
    void serve(handler, call, response, options);
  };
}

/** Throws for a request whose host and path make no URL. */
function readRequest(
  request: NodeRequest,
  response: NodeResponse,
  stopping: AbortSignal,
): UniversalServerRequest {
  const authority = "authority" in request ? request.authority : request.headers.host;
  const body = readBody(request);
  const gone = new AbortController();
  // After the answer this changes nothing: the call is over by then.
  response.once("close", () => gone.abort(new ConnectError("the caller has gone", Code.Canceled)));
  return {
    httpVersion: request.httpVersion,
    method: request.method ?? "",
    url: new URL(request.url ?? "", `http://${authority}`).href,
    header: readHeaders(request),
    body: body.chunks,
    signal: gone.signal,
    contextValues: createContextValues()
      .set(stoppingKey, stopping)
      .set(goneKey, gone.signal)
      .set(stopReadingKey, body.stop),
  };
}

function readHeaders(request: NodeRequest): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers)) {
    if (name.startsWith(":") || value === undefined) continue;
    if (isEndlessTimeout(name, String(value))) continue;
    for (const item of [value].flat()) headers.append(name, item);
  }
  return headers;
}

async function serve(
  handler: UniversalHandler,
  call: UniversalServerRequest,
  response: NodeResponse,
  { onFailure, unreadMs }: RequestListenerOptions,
): Promise<void> {
  try {
    const answer = await handler(call);
    const pace = { unreadMs, giveUp: () => hangUp(response), gone: call.signal };
    const body = answer.body && paceAnswer(answer.body, pace);
    await universalResponseToNodeResponse({ ...answer, ...(body && { body }) }, response);
  } catch (error) {
    // The caller has hung up: nobody to answer, and nothing of ours went wrong.
    if (call.signal.aborted) return;
    onFailure(error);
    hangUp(response);
  }
}

/** HTTP/1.1 has such a limit built in, of the same length. */
function limitBody(request: NodeRequest, response: NodeResponse, requestMs: number): void {
  if (request.httpVersionMajor < 2) return;
  const timer = setTimeout(hangUp, requestMs, response).unref();
  const clear = () => clearTimeout(timer);
  request.once("end", clear);
  response.once("close", clear);
}

/** Whatever was written of the answer so far. */
function hangUp(response: NodeResponse): void {
  if ("stream" in response) response.stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  else response.destroy();
}

function refuse(response: NodeResponse, status: number): void {
  response.statusCode = status;
  response.end();
}
