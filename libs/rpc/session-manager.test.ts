import { once } from "node:events";
import { type ClientHttp2Session, constants, createServer, type ServerHttp2Session } from "node:http2";
import { createServer as createTcpServer, type AddressInfo } from "node:net";
import { setImmediate } from "node:timers/promises";

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";

import { Health } from "#libs/gen/grpc/health/v1/health_pb.ts";

import { connectForTest, serveForTest, within } from "./serve-for-test.ts";
import { createSessionManager } from "./session-manager.ts";

test("a session that fails after its manager has let go of it harms nothing", async () => {
  await using server = await serveForTest({
    routes: (router) => router.service(Health, { list: () => ({}) }),
  });
  using manager = createSessionManager(server.url);
  const headers = { "content-type": "application/json" };
  const stream = await manager.request("POST", "/grpc.health.v1.Health/List", headers, {});
  const { session } = stream;
  stream.end("{}");
  await within(once(stream.resume(), "close"), "an answer");
  manager.abort();
  // Without a listener this throws, and from the event loop would end the process. The manager's own stands for one only.
  for (const _ of [1, 2, 3]) expect(session?.emit("error", new Error("late"))).toBe(true);
});

test("calls go on over new connections while a server says goodbye to each one when it is idle", async () => {
  const sessions = new Set<ServerHttp2Session>();
  const server = createServer((_, response) => {
    response.writeHead(200, { "content-type": "application/grpc", "grpc-status": "5" });
    response.end();
  });
  server.on("session", (session) => {
    sessions.add(session.once("close", () => sessions.delete(session)).on("error", () => {}));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  using manager = createSessionManager(baseUrl);
  const client = createClient(Health, createGrpcTransport({ baseUrl, sessionManager: manager }));
  for (let round = 0; round < 20; round++) {
    await expect(client.check({})).rejects.toMatchObject({ code: Code.NotFound });
    for (const session of sessions) {
      const closed = once(session, "close");
      session.close();
      await within(closed, "the session's end");
    }
  }
  server.close();
});

test("closing ends the calls under way, and a later call opens another connection", async () => {
  const started = Promise.withResolvers<void>();
  await using server = await serveForTest({
    routes: (router) =>
      router.service(Health, {
        async check(_, { signal }) {
          started.resolve();
          await once(signal, "abort");
          return {};
        },
        list: () => ({}),
      }),
  });
  using client = connectForTest(server.url);
  const call = client.health.check({});
  await within(started.promise, "the call");
  client[Symbol.dispose]();
  await expect(call).rejects.toMatchObject({ code: Code.Canceled });
  await expect(client.health.list({})).resolves.toBeDefined();
});

test("a connection that does not come about is given up in time, and the next call tries another one", async () => {
  let connections = 0;
  const silent = createTcpServer((socket) => {
    connections++;
    socket.on("error", () => {}).resume();
  });
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  const baseUrl = `https://127.0.0.1:${(silent.address() as AddressInfo).port}`; // TLS never gets an answer.
  using manager = createSessionManager(baseUrl, { connectTimeoutMs: 50 });
  const client = createClient(Health, createGrpcTransport({ baseUrl, sessionManager: manager }));
  for (const made of [1, 2]) {
    const calls = [client.check({}), client.check({})];
    for (const call of calls) {
      await expect(within(call, "the end of the call")).rejects.toMatchObject({ code: Code.Unavailable });
    }
    await expect.poll(() => connections).toBe(made); // The server's side may hear of it after the caller gave up.
  }
  silent.close();
});

test("a peer that has gone without a word is given up, and later calls have a connection of their own", async () => {
  const answering = createServer((_, response) => {
    response.writeHead(200, { "content-type": "application/grpc", "grpc-status": "5" });
    response.end();
  });
  let connections = 0;
  const server = createTcpServer((socket) => {
    socket.on("error", () => {});
    if (++connections === 1) socket.resume();
    else answering.emit("connection", socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  using manager = createSessionManager(baseUrl, { pulse: { intervalMs: 20, timeoutMs: 50 } });
  const client = createClient(Health, createGrpcTransport({ baseUrl, sessionManager: manager }));
  const codeOf = (call: Promise<unknown>) =>
    call.then(String, (error: unknown) => ConnectError.from(error).code);
  expect(await within(codeOf(client.check({})), "the first call's end")).not.toBe(Code.NotFound);
  // A machine that stalls may lose the new connection too, as its pulse has so little time.
  await expect.poll(() => codeOf(client.check({}))).toBe(Code.NotFound);
  manager.abort();
  server.close();
});

test("after a goodbye Node sends no ping, so that the calls still on a connection have their deadlines alone", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  server.on("stream", (stream) => {
    stream.on("error", () => {});
    stream.session?.goaway(constants.NGHTTP2_NO_ERROR, stream.id);
  });
  server.on("session", (session) => session.on("error", () => {}));
  await once(server, "listening");
  using manager = createSessionManager(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const stream = await manager.request("POST", "/x", { "content-type": "application/grpc" }, {});
  stream.on("error", () => {});
  const session = stream.session as ClientHttp2Session;
  await within(once(session, "goaway"), "the goodbye");
  await setImmediate(); // Node closes the session after it has told of the goodbye.
  const answer = new Promise((resolve) => session.ping(resolve));
  expect(await within(answer, "the ping's end")).toMatchObject({ code: "ERR_HTTP2_PING_CANCEL" });
  expect(stream.destroyed).toBe(false);
  manager.abort();
  server.close();
});
