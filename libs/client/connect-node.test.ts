/**
 * What connect-node 2.2 does by itself, and why this client does not leave it at that. When one of these fails after an
 * upgrade, connect-node was mended, and ours may go.
 */
import { once } from "node:events";
import { constants } from "node:http2";

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { expect, test } from "vitest";

import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { connectionLossOf, withRightCode } from "#libs/rpc/connection-loss.ts";
import { type Act, type ScriptedService, startScriptedService } from "#test/support/scripted-service.ts";

function open(server: ScriptedService) {
  const sessionManager = new Http2SessionManager(server.url);
  const transport = createGrpcTransport({ baseUrl: server.url, sessionManager });
  return {
    sessionManager,
    ...createClient(CaseService, transport),
    [Symbol.dispose]: () => sessionManager.abort(),
  };
}

const errorOf = (call: Promise<unknown>) =>
  call.then(
    () => undefined,
    (error: unknown) => ConnectError.from(error),
  );

test.each([0, -5])("it takes a timeout of %s ms for none at all", async (timeoutMs) => {
  await using server = await startScriptedService();
  using client = open(server);
  await client.getCase({}, { timeoutMs });
  expect(server.requests[0]?.header.has("grpc-timeout")).toBe(false);
});

test("it tells the service nothing of a time that only a signal knows", async () => {
  await using server = await startScriptedService();
  using client = open(server);
  await client.getCase({}, { signal: AbortSignal.timeout(5_000) });
  expect(server.requests[0]?.header.has("grpc-timeout")).toBe(false);
});

test.each<[string, Act, Code, ReturnType<typeof connectionLossOf>, Code]>([
  ["a cut connection", "cut", Code.Canceled, "lost", Code.Unavailable],
  [
    "a refused stream",
    { reset: constants.NGHTTP2_REFUSED_STREAM },
    Code.Internal,
    "unsent",
    Code.Unavailable,
  ],
  [
    "a stream reset by a fault",
    { reset: constants.NGHTTP2_INTERNAL_ERROR },
    Code.Internal,
    "lost",
    Code.Unavailable,
  ],
  [
    "too many frames",
    { reset: constants.NGHTTP2_ENHANCE_YOUR_CALM },
    Code.Internal,
    undefined,
    Code.ResourceExhausted,
  ],
])("it gives %s a code of its own, which can be told from an answer", async (_, act, given, loss, right) => {
  await using server = await startScriptedService(act);
  using client = open(server);
  const error = await errorOf(client.getCase({}));
  expect(error).toMatchObject({ code: given, isWireError: false });
  expect(connectionLossOf(error!)).toBe(loss);
  expect(withRightCode(error!).code).toBe(right);
});

test.each([
  ["ECONNRESET", "read", Code.Aborted, "lost"],
  ["ECONNRESET", "connect", Code.Aborted, "unsent"],
  ["EPIPE", "write", Code.Internal, "lost"],
  ["ECONNREFUSED", "connect", Code.Unavailable, "unsent"],
  ["EHOSTUNREACH", "connect", Code.Unavailable, "unsent"],
  ["EHOSTUNREACH", "read", Code.Unavailable, "lost"],
  ["ENETUNREACH", "write", Code.Unavailable, "lost"],
  ["ERR_HTTP2_GOAWAY_SESSION", "", Code.Internal, "unsent"],
  ["ERR_HTTP2_SESSION_ERROR", "", Code.Internal, "lost"],
])("an error %s of %s, as it wraps it, is known", (code, syscall, given, loss) => {
  const cause = Object.assign(new Error(code), { code, ...(syscall && { syscall }) });
  const error = new ConnectError("wrapped", given, undefined, undefined, cause);
  expect(connectionLossOf(error)).toBe(loss);
  expect(withRightCode(error).code).toBe(Code.Unavailable);
});

test.each([
  ["connect", "unsent"],
  ["read", "lost"],
])("errors of %s to several addresses of one name, as Node sums them up, are known", (syscall, loss) => {
  const errors = [1, 2].map(() => Object.assign(new Error("unreachable"), { code: "EHOSTUNREACH", syscall }));
  const cause = Object.assign(new AggregateError(errors), { code: "EHOSTUNREACH" });
  const error = new ConnectError("wrapped", Code.Internal, undefined, undefined, cause);
  expect(connectionLossOf(error)).toBe(loss);
});

test.each([Code.Aborted, Code.Canceled, Code.Internal, Code.Unknown])(
  "a code %s that the server sent itself is marked, and stays",
  async (code) => {
    await using server = await startScriptedService(
      new ConnectError("REFUSED_STREAM, ENHANCE_YOUR_CALM", code),
    );
    using client = open(server);
    const error = await errorOf(client.getCase({}));
    expect(error).toMatchObject({ code, isWireError: true });
    expect(connectionLossOf(error!)).toBeUndefined();
    expect(withRightCode(error!)).toBe(error);
  },
);

test.each([
  [
    "a message above the limit",
    new ConnectError("message is larger than readMaxBytes", Code.ResourceExhausted),
  ],
  ["a protocol error", new ConnectError("protocol error: missing status", Code.Internal)],
  [
    "a message that cannot be written",
    new ConnectError("cannot encode", Code.Internal, undefined, undefined, new Error("x")),
  ],
  [
    "a message above the limit, found when it is unpacked",
    new ConnectError(
      "message is larger than readMaxBytes",
      Code.ResourceExhausted,
      undefined,
      undefined,
      Object.assign(new RangeError("Cannot create a Buffer larger than 500 bytes"), {
        code: "ERR_BUFFER_TOO_LARGE",
      }),
    ),
  ],
  [
    "a header that cannot be sent",
    ConnectError.from(
      Object.assign(new TypeError("HTTP/1 Connection specific headers are forbidden"), {
        code: "ERR_HTTP2_INVALID_CONNECTION_HEADERS",
      }),
    ),
  ],
])("%s is no loss of the connection", (_, error) => {
  expect(withRightCode(error)).toBe(error);
});

test("a session that its manager let go of lacks an error listener, and a second error would end the process", async () => {
  await using server = await startScriptedService();
  using client = open(server);
  const headers = { "content-type": "application/grpc" };
  const stream = await client.sessionManager.request("POST", "/x", headers, {});
  const { session } = stream;
  stream.end();
  await once(
    stream.resume().on("error", () => {}),
    "close",
  );
  client.sessionManager.abort();
  expect(() => [1, 2, 3].forEach(() => session?.emit("error", new Error("late")))).toThrow("late");
  session?.on("error", () => {}); // Its own end is such an error.
});

test("leaving a loop over a stream does not end it: the server goes on until the deadline", async () => {
  await using server = await startScriptedService();
  using client = open(server);
  const caller = new AbortController();
  const stream = client.watchCases({}, { headers: { "x-stay": "yes" }, signal: caller.signal });
  for await (const _ of stream) break;
  expect(stream[Symbol.asyncIterator]()).not.toHaveProperty("return");
  caller.abort();
});
