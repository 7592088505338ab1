import { once } from "node:events";
import { connect as connectHttp2, type ClientHttp2Session, type OutgoingHttpHeaders } from "node:http2";
import { connect, type Socket } from "node:net";
import { setImmediate as turn } from "node:timers/promises";

import { Code, ConnectError, type ConnectRouter, type ServiceImpl } from "@connectrpc/connect";
import { expect, test } from "vitest";

import { Health, HealthCheckResponse_ServingStatus as Status } from "#libs/gen/grpc/health/v1/health_pb.ts";

import { PortTakenError } from "./bind.ts";
import { listen } from "./listen.ts";
import { connectForTest, protocols, serveForTest, within } from "./serve-for-test.ts";
import { stoppingKey } from "./connection-signals.ts";
import { whenAborted } from "./when-aborted.ts";

const checkPath = "/grpc.health.v1.Health/Check";
const serving = { status: Status.SERVING };
const healthy = healthWith({ check: () => serving });

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const settingsType = 4;
/** RFC 9113, section 4.1: length, type, flags, stream. */
const emptySettings = Buffer.of(0, 0, 0, settingsType, 0, 0, 0, 0, 0);

test.each(protocols)("a call gets its answer over %s on the one port", async (protocol) => {
  await using server = await serveForTest({ routes: healthy });
  using client = connectForTest(server.url, protocol);
  expect(await client.health.check({ service: "a" })).toMatchObject(serving);
});

test("a port that is taken is told by host and number, and nothing is left open", async () => {
  await using server = await serveForTest({ routes: healthy });
  const options = {
    host: "127.0.0.1",
    port: server.port,
    routes: healthy,
    readMaxBytes: 1,
    writeMaxBytes: 1,
  };
  const second = listen({ ...options, onFailure: () => {} });
  await expect(second).rejects.toThrow(PortTakenError);
  await expect(second).rejects.toMatchObject({ host: "127.0.0.1", port: server.port });
});

test("a request that comes byte by byte is served, whichever version of HTTP it is", async () => {
  await using server = await serveForTest({ routes: healthy });
  for (const bytes of [http1Request(), Buffer.concat([preface, emptySettings])]) {
    using peer = await openSocket(server.port);
    for (const byte of bytes) {
      peer.socket.write(Buffer.of(byte));
      await turn();
    }
    const answer = await peer.read(12);
    const isHttp1 = answer.startsWith("HTTP/1.1 200");
    expect(isHttp1 || answer.charCodeAt(3) === settingsType).toBe(true);
  }
});

test.each([
  ["nothing at all", ""],
  ["the start of a preface", "P"],
  ["a preface and no settings", preface],
  ["half a request line", "POST /grpc.hea"],
  ["headers without an end", `POST ${checkPath} HTTP/1.1\r\nhost: a\r\n`],
])("a connection that sends %s is closed in time", async (_, bytes) => {
  const limits = { firstBytesMs: 40, headersMs: 40 };
  await using server = await serveForTest({ routes: healthy, limits });
  using peer = await openSocket(server.port);
  peer.socket.write(bytes);
  await peer.closed;
  expect(server.failures).toEqual([]);
});

test.each([
  ["zeroes", Buffer.alloc(1_000)],
  ["a TLS hello", Buffer.from("16030100f5010000f10303", "hex")],
  ["a preface and rubbish", Buffer.concat([preface, Buffer.alloc(4_096, 0xff)])],
  ["a preface that goes wrong", Buffer.from("PRI * HTTP/1.1\r\nhost: a\r\n\r\n")],
  ["a request with a bad header", Buffer.from("GET / HTTP/1.1\r\nho st: a\r\n\r\n")],
])("%s end their connection and nothing else", async (_, bytes) => {
  await using server = await serveForTest({ routes: healthy });
  using peer = await openSocket(server.port);
  peer.socket.write(bytes);
  await peer.closed;
  using client = connectForTest(server.url);
  expect(await client.health.check({})).toMatchObject(serving);
});

test.each(["[", "a b", "a:b:c", ""])("a host of %j is refused, in HTTP/1.1 and HTTP/2", async (host) => {
  await using server = await serveForTest({ routes: healthy });
  using peer = await openSocket(server.port);
  peer.socket.write(`POST ${checkPath} HTTP/1.0\r\nhost: ${host}\r\ncontent-type: application/json\r\n\r\n`);
  expect(await peer.read(12)).toBe("HTTP/1.1 400");
  using session = openSession(server.url);
  expect([400, "reset"]).toContain(await statusOf(session.http2, { ":authority": host }));
});

test("a caller that leaves with its request half sent is forgotten", async () => {
  await using server = await serveForTest({ routes: healthy });
  const session = openSession(server.url);
  expect(await statusOf(session.http2, { ":path": "/nothing" })).toBe(404);
  session[Symbol.dispose]();
  await within(server.stop({ drainMs: 20_000 }), "the stop");
});

test("headers beyond the limits are refused, in HTTP/1.1 and HTTP/2", async () => {
  const limits = { headerBytesMax: 2_048, headersMax: 20 };
  await using server = await serveForTest({ routes: healthy, limits });
  using peer = await openSocket(server.port);
  peer.socket.write(`POST ${checkPath} HTTP/1.1\r\nhost: a\r\nx: ${"x".repeat(4_096)}\r\n\r\n`);
  expect(await peer.read(12)).toBe("HTTP/1.1 431");
  using another = await openSocket(server.port);
  another.socket.write(`POST ${checkPath} HTTP/1.1\r\nhost: a\r\n${"x: 1\r\n".repeat(40)}\r\n`);
  expect(await another.read(12)).toBe("HTTP/1.1 431");

  using session = openSession(server.url);
  await within(once(session.http2, "remoteSettings"), "settings"); // The limits hold once both sides know them.
  const many = Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`x-${index}`, "1"]));
  for (const headers of [{ x: "x".repeat(4_096) }, many]) {
    expect(await statusOf(session.http2, headers)).toBe("reset");
  }
  using client = connectForTest(server.url);
  expect(await client.health.check({})).toMatchObject(serving);
});

test("connections beyond the limit are closed, and calls beyond the limit wait for others to end", async () => {
  await using server = await serveForTest({ routes: healthy, limits: { connectionsMax: 1, callsMax: 7 } });
  using session = openSession(server.url);
  const [settings] = (await within(once(session.http2, "remoteSettings"), "settings")) as [
    { maxConcurrentStreams: number },
  ];
  expect(settings.maxConcurrentStreams).toBe(7);
  using second = await openSocket(server.port);
  await second.closed;
});

test("a body that does not come to its end is given up", async () => {
  await using server = await serveForTest({ routes: healthy, limits: { requestMs: 40 } });
  using session = openSession(server.url);
  expect(await statusOf(session.http2, { "content-type": "application/grpc" })).toBe("reset");
  expect(await server.line(1)).toMatchObject({ code: "invalid_argument" });
});

test("a body that comes byte by byte, for longer than a request may take, is given up", async () => {
  await using server = await serveForTest({ routes: healthy, limits: { requestMs: 200 } });
  using session = openSession(server.url);
  const stream = session.http2.request({
    ":method": "POST",
    ":path": checkPath,
    "content-type": "application/json",
  });
  const drip = setInterval(() => stream.writable && stream.write(" "), 10);
  const [error] = await within(once(stream, "error"), "the end of the call");
  clearInterval(drip);
  expect(error).toMatchObject({ code: "ERR_HTTP2_STREAM_ERROR" });
  expect(await server.line(1)).toMatchObject({ code: "invalid_argument" });
});

test("over HTTP/1.1 too a body that does not come to its end is given up, and so is a connection without a call", async () => {
  await using server = await serveForTest({ routes: healthy, limits: { requestMs: 40, idleMs: 40 } });
  const head = `POST ${checkPath} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n`;
  using slow = await openSocket(server.port);
  slow.socket.write(`${head}content-length: 2\r\n\r\n{`);
  await slow.closed;
  using idle = await openSocket(server.port);
  idle.socket.write(`${head}content-length: 2\r\n\r\n{}`);
  expect(await idle.read(12)).toBe("HTTP/1.1 200");
  await idle.closed;
});

test("a session is closed when it has been without a call for long, and not while it has one", async () => {
  const started = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  await using server = await serveForTest({
    routes: healthWith({
      async check() {
        started.resolve();
        await go.promise;
        return serving;
      },
    }),
    limits: { idleMs: 40 },
  });
  using session = openSession(server.url);
  const closed = once(session.http2, "close");
  const stream = session.http2.request({
    ":method": "POST",
    ":path": checkPath,
    "content-type": "application/json",
  });
  stream.end("{}");
  await within(started.promise, "the call");
  // Another connection comes and goes of idleness meanwhile, so the time is up for the first one as well.
  using other = openSession(server.url);
  await within(once(other.http2, "close"), "the idle session's end");
  expect(session.http2.closed).toBe(false);
  go.resolve();
  const [headers] = (await within(once(stream, "response"), "an answer")) as [{ ":status": number }];
  expect(headers[":status"]).toBe(200);
  stream.resume();
  await within(closed, "the session's end");
});

test("a path without a method behind it is 404, and a wrong media type 415", async () => {
  await using server = await serveForTest({ routes: healthy });
  expect((await fetch(`${server.url}/nothing`, { method: "POST" })).status).toBe(404);
  const headers = { "content-type": "text/html" };
  expect((await fetch(`${server.url}${checkPath}`, { method: "POST", headers })).status).toBe(415);
});

test.each(protocols)("a stop lets a call over %s finish and takes no more connections", async (protocol) => {
  const started = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  await using server = await serveForTest({
    routes: healthWith({
      async check(_, { signal }) {
        started.resolve();
        await go.promise;
        signal.throwIfAborted();
        return serving;
      },
    }),
  });
  using client = connectForTest(server.url, protocol);
  const call = client.health.check({});
  await within(started.promise, "the call");
  const stopped = server.stop({ drainMs: 5_000 });
  using late = connectForTest(server.url, protocol);
  await expect(late.health.check({})).rejects.toMatchObject({ code: Code.Unavailable });
  go.resolve();
  expect(await call).toMatchObject(serving);
  await within(stopped, "the stop");
  expect(server.failures).toEqual([]);
});

test("a stop is quick when nothing is in flight, whatever connections are open", async () => {
  await using server = await serveForTest({ routes: healthy });
  const clients = protocols.map((protocol) => connectForTest(server.url, protocol));
  await Promise.all(clients.map((client) => client.health.check({})));
  using silent = await openSocket(server.port);
  using idle = await openSocket(server.port);
  idle.socket.write(http1Request());
  await idle.read(12);
  await within(server.stop({ drainMs: 20_000 }), "the stop");
  await Promise.all([silent.closed, idle.closed]);
  for (const client of clients) client[Symbol.dispose]();
});

test("a request that is on its way when the stop comes is answered, and told that the connection ends", async () => {
  await using server = await serveForTest({ routes: healthy });
  using peer = await openSocket(server.port);
  peer.socket.write(http1Request());
  await peer.read(12);
  const stopped = server.stop({ drainMs: 5_000 });
  peer.socket.write(http1Request());
  await peer.closed;
  const answers = peer.seen().split("HTTP/1.1 ").slice(1);
  expect(answers.map((answer) => answer.slice(0, 3))).toEqual(["200", "200"]);
  expect(answers[1]?.toLowerCase()).toContain("connection: close");
  await within(stopped, "the stop");
});

test("a stream without an end of its own learns of the stop at once and sends its caller away", async () => {
  await using server = await serveForTest({
    routes: healthWith({
      async *watch(_, { values }) {
        yield serving;
        const over = Promise.withResolvers<void>();
        whenAborted(values.get(stoppingKey), over.resolve);
        await over.promise;
        throw new ConnectError("go elsewhere", Code.Unavailable);
      },
    }),
  });
  using client = connectForTest(server.url);
  const stream = client.health.watch({})[Symbol.asyncIterator]();
  await stream.next();
  const stopped = server.stop({ drainMs: 20_000 });
  await expect(stream.next()).rejects.toMatchObject({ code: Code.Unavailable, rawMessage: "go elsewhere" });
  await within(stopped, "the stop");
});

test.each(protocols)(
  "a stream over %s that does not end is told so when the time is up",
  async (protocol) => {
    await using server = await serveForTest({
      routes: healthWith({
        async *watch(_, { signal }) {
          yield serving;
          await once(signal, "abort");
          signal.throwIfAborted();
        },
      }),
    });
    using client = connectForTest(server.url, protocol);
    const stream = client.health.watch({})[Symbol.asyncIterator]();
    await stream.next();
    const stopped = server.stop({ drainMs: 30 });
    await expect(stream.next()).rejects.toMatchObject({ code: Code.Unavailable });
    await within(stopped, "the stop");
    expect(await server.line(1)).toMatchObject({ code: "unavailable" });
  },
);

test("a handler deaf to everything cannot keep the server from stopping, nor harm it by failing later", async () => {
  const started = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const over = Promise.withResolvers<void>();
  const server = await serveForTest({
    routes: healthWith({
      async check() {
        started.resolve();
        await go.promise;
        over.resolve();
        throw new Error("too late");
      },
    }),
  });
  using client = connectForTest(server.url);
  const call = client.health.check({}).catch((error: unknown) => ConnectError.from(error));
  await within(started.promise, "the call");
  await within(Promise.all([server.stop({ drainMs: 10 }), server.stop({ drainMs: 10 })]), "the stop");
  expect(await call).toBeInstanceOf(ConnectError);
  go.resolve();
  await over.promise;
  await turn();
  expect(server.failures).toEqual([]);
  expect(server.lines).toHaveLength(1);
});

function healthWith(implementation: Partial<ServiceImpl<typeof Health>>) {
  return (router: ConnectRouter) => void router.service(Health, implementation);
}

function http1Request(): Buffer {
  const head = `POST ${checkPath} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n`;
  return Buffer.from(`${head}{}`);
}

interface Peer extends Disposable {
  readonly socket: Socket;
  readonly closed: Promise<void>;
  seen(): string;
  /** What came so far, once it is that many bytes. */
  read(bytes: number): Promise<string>;
}

async function openSocket(port: number): Promise<Peer> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  let seen = "";
  let came = Promise.withResolvers<void>();
  const close = Promise.withResolvers<void>();
  socket.on("data", (chunk) => {
    seen += chunk.toString("latin1");
    came.resolve();
    came = Promise.withResolvers();
  });
  // A reset is one way of being closed.
  socket.on("error", () => {});
  for (const event of ["end", "close"]) socket.on(event, () => close.resolve());
  await within(Promise.race([once(socket, "connect"), close.promise]), "a connection");
  return {
    socket,
    closed: within(close.promise, "the connection's end"),
    seen: () => seen,
    async read(bytes) {
      while (seen.length < bytes) await within(came.promise, `${bytes} bytes`);
      return seen.slice(0, bytes);
    },
    [Symbol.dispose]: () => void socket.destroy(),
  };
}

/** Of a call whose request is not finished; `reset` where the stream was closed without an answer. */
async function statusOf(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
): Promise<number | "reset"> {
  const stream = session.request({ ":method": "POST", ":path": checkPath, ...headers });
  const status = Promise.withResolvers<number | "reset">();
  stream.on("response", (answer) => status.resolve(answer[":status"] ?? 0));
  stream.on("error", () => {});
  stream.on("close", () => status.resolve("reset"));
  return within(status.promise, "an answer");
}

function openSession(url: string): { readonly http2: ClientHttp2Session } & Disposable {
  const http2 = connectHttp2(url);
  http2.on("error", () => {});
  return { http2, [Symbol.dispose]: () => http2.destroy() };
}
