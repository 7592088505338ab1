import { once } from "node:events";
import type { ConnectRouter } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { Health, HealthCheckResponse_ServingStatus as Status } from "#libs/gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "#libs/gen/grpc/reflection/v1/reflection_pb.ts";
import type { ListenOptions } from "#libs/rpc/listen.ts";
import { connectForTest, serveForTest, type TestServer } from "#libs/rpc/serve-for-test.ts";
import { frame } from "../support/attack-http.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { encodeHttp1, openHttp2, openPeer, readHttp1, within } from "../support/raw-http.ts";

/*
 * The limits that no caller gets beyond, which are minutes in the services and milliseconds here.
 */

expectNoLeaks();

const checkPath = "/grpc.health.v1.Health/Check";
const listPath = "/grpc.health.v1.Health/List";
const infoPath = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const serving = { status: Status.SERVING };
/** More than what a connection on one machine holds between its ends. */
const muchBytes = 16 * 1024 * 1024;
const pieceBytes = 65_536;

interface Server extends TestServer {
  /** Settles when the handler of a stream has come to its end. */
  readonly streamEnded: Promise<void>;
}

/** `Check` waits for `go`; the answer of `List`, and all those of a reflection's stream together, are of many bytes. */
async function serveMuch(limits: ListenOptions["limits"], go?: Promise<void>): Promise<Server> {
  const ended = Promise.withResolvers<void>();
  const routes = (router: ConnectRouter) => {
    router.service(Health, {
      async check() {
        await go;
        return serving;
      },
      list: () => ({ statuses: { ["x".repeat(muchBytes)]: serving } }),
    });
    router.service(ServerReflection, {
      async *serverReflectionInfo() {
        try {
          for (let sent = 0; sent < muchBytes; sent += pieceBytes)
            yield { validHost: "x".repeat(pieceBytes) };
        } finally {
          ended.resolve();
        }
      },
    });
  };
  const server = await serveForTest({ routes, limits, writeMaxBytes: 2 * muchBytes });
  return { ...server, streamEnded: ended.promise };
}

/** A caller that asks and then takes nothing of what it is told. */
interface DeafCaller extends AsyncDisposable {
  /** Settles when the server has given the call up. */
  readonly givenUp: Promise<unknown>;
}

async function callHttp2(url: string, path: string): Promise<DeafCaller> {
  const session = openHttp2(url);
  const headers = { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" };
  const stream = session.http2.request(headers);
  stream.on("error", () => {}); // It is reset.
  stream.end(frame(Buffer.alloc(0)));
  const closed = Promise.withResolvers<void>();
  stream.on("close", closed.resolve);
  return {
    givenUp: closed.promise,
    [Symbol.asyncDispose]: async () => session[Symbol.dispose](),
  };
}

async function callHttp1(url: string, path: string): Promise<DeafCaller> {
  const peer = await openPeer(url);
  peer.socket.pause();
  const headers = { "content-type": "application/json" };
  peer.socket.write(encodeHttp1({ path, headers, body: Buffer.from("{}") }));
  return { givenUp: peer.ended, [Symbol.asyncDispose]: () => peer[Symbol.asyncDispose]() };
}

const deafCallers = [
  ["an answer", "HTTP/2", callHttp2, listPath],
  ["an answer", "HTTP/1.1", callHttp1, listPath],
  ["a stream", "HTTP/2", callHttp2, infoPath],
] as const;

test.each(deafCallers)(
  "%s over %s that its caller takes nothing of is given up, and nothing is kept of it",
  async (_, _http, call, path) => {
    await using server = await serveMuch({ unreadMs: 60 });
    await using caller = await call(server.url, path);
    expect(await server.line(1)).toMatchObject({ code: path === infoPath ? "canceled" : "ok" });
    if (path === infoPath) await within(server.streamEnded, "the end of the handler");
    if (call === callHttp2) await within(caller.givenUp, "the end of the call");
    using client = connectForTest(server.url);
    expect(await client.health.check({})).toMatchObject(serving);
  },
);

test.each(deafCallers)(
  "%s over %s whose caller leaves without having taken it comes to its end",
  async (_, _http, call, path) => {
    await using server = await serveMuch({});
    {
      await using _caller = await call(server.url, path);
      await server.received(1);
    }
    await server.line(1);
    if (path === infoPath) await within(server.streamEnded, "the end of the handler");
  },
);

test("a call that is silent because nothing is to be said is left alone", async () => {
  const go = Promise.withResolvers<void>();
  await using server = await serveMuch({ unreadMs: 20 }, go.promise);
  using client = connectForTest(server.url, "connect h1");
  const call = client.health.check({});
  using other = connectForTest(server.url, "grpc");
  const otherCall = other.health.check({});
  // An answer that nobody takes is given up meanwhile: the time was up for the silent ones as well.
  await using deaf = await callHttp2(server.url, listPath);
  await within(deaf.givenUp, "the end of the answer that nobody takes");
  await server.line(1);
  const soon = new Promise((resolve) => setImmediate(resolve, "silent"));
  expect(await Promise.race([call, otherCall, soon])).toBe("silent");
  expect(server.lines.map(({ method }) => method)).toEqual([listPath.slice(1)]);
  go.resolve();
  await Promise.allSettled([call, otherCall]); // Of a machine that stalls now, the answers may come too late.
});

test("HTTP/1.1 requests sent without waiting are answered in order, and too many of them end the connection", async () => {
  const go = Promise.withResolvers<void>();
  await using server = await serveMuch({ callsMax: 8 }, go.promise);
  const request = encodeHttp1({
    path: checkPath,
    headers: { "content-type": "application/json", "content-length": "2", connection: "keep-alive" },
    body: Buffer.from("{}"),
  });
  await using polite = await openPeer(server.url);
  polite.socket.write(Buffer.concat(Array.from({ length: 8 }, () => request)));
  await server.received(8);
  {
    await using greedy = await openPeer(server.url);
    greedy.socket.write(Buffer.concat(Array.from({ length: 9 }, () => request)));
    await within(greedy.ended, "the end of the connection");
    expect(greedy.seen()).toHaveLength(0);
  }
  go.resolve();
  const bytes = await polite.until((seen) =>
    seen.toString().split("SERVING").length > 8 ? seen : undefined,
  );
  expect(bytes?.toString().match(/HTTP\/1\.1 200/g)).toHaveLength(8);
});

test("a body that does not come ends with the caller's deadline, and the caller is told", async () => {
  await using server = await serveMuch({});
  const session = openHttp2(server.url);
  using _session = session;
  const stream = session.http2.request({
    ":method": "POST",
    ":path": checkPath,
    "content-type": "application/grpc",
    "grpc-timeout": "30m",
  });
  stream.write(frame(Buffer.alloc(0), 0, 1_000).subarray(0, 3));
  const [trailers] = (await within(once(stream.resume(), "trailers"), "an answer")) as [
    Record<string, string>,
  ];
  expect(trailers["grpc-status"]).toBe("4");
  stream.destroy();
  expect(await server.line(1)).toMatchObject({ code: "deadline_exceeded" });

  await using peer = await openPeer(server.url);
  const headers = { "content-type": "application/json", "content-length": "2", "connect-timeout-ms": "30" };
  peer.socket.write(encodeHttp1({ path: checkPath, headers, body: Buffer.from("{") }));
  expect((await readHttp1(peer)).body.toString()).toContain(`"code":"deadline_exceeded"`);
  expect(await server.line(2)).toMatchObject({ code: "deadline_exceeded" });
  expect(server.unexpected).toEqual([]);
});
