import { randomUUID } from "node:crypto";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createCaseClient } from "#libs/client/case-client.ts";
import { frame, verdictOf, wires } from "../support/attack-http.ts";
import { startAttackedService, type AttackedService } from "../support/attack-http-process.ts";
import { content } from "../support/case-service.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { encodeHttp1, openPeer, type Peer } from "../support/raw-http.ts";
import {
  flag,
  frameType as type,
  headerBlock,
  http2Frame,
  openRawHttp2,
  setting,
} from "../support/raw-http2.ts";

expectNoLeaks();

const mebibyte = 1024 * 1024;
const stack = new AsyncDisposableStack();
let service: AttackedService;

beforeAll(async () => {
  service = stack.use(await startAttackedService());
  await using client = createCaseClient({ url: service.url, token: service.token });
  for (let made = 0; made < 20; made++) {
    const request = { requestId: randomUUID(), caseType: "permit", content };
    await client.createCase({ ...request, content: { ...content, summary: "y".repeat(8_000) } });
  }
});
afterAll(() => stack.disposeAsync());

const bomb = gzipSync(Buffer.alloc(64 * mebibyte));

const listHeaders = () => ({ "content-type": "application/json", authorization: `Bearer ${service.token}` });

/** Asks for large answers over HTTP/2 and lets the server send not one byte of them. */
async function neverReadHttp2(): Promise<AsyncDisposable> {
  const initialWindowSize = 4;
  const connection = await openRawHttp2(service.url, setting(initialWindowSize, 0));
  const head = headerBlock([
    [":method", "POST"],
    [":scheme", "http"],
    [":authority", "localhost"],
    [":path", service.path],
    ["content-type", "application/grpc"],
    ["authorization", `Bearer ${service.token}`],
  ]);
  for (let call = 0; call < 32; call++) {
    await connection.send(
      http2Frame(type.headers, flag.endHeaders, 2 * call + 1, head),
      http2Frame(type.data, flag.endStream, 2 * call + 1, frame(Buffer.alloc(0))),
    );
  }
  return connection;
}

/** The same over HTTP/1.1, on a connection each. */
async function neverReadHttp1(): Promise<AsyncDisposable> {
  return openMany(32, (peer) => {
    peer.socket.pause();
    peer.socket.write(encodeHttp1({ path: service.path, headers: listHeaders(), body: Buffer.from("{}") }));
  });
}

/** Watches more often than anybody may, and reads nothing of it. */
async function neverReadWatch(): Promise<AsyncDisposable> {
  const body = frame(Buffer.alloc(0));
  const headers = { "content-type": "application/grpc-web" };
  return openMany(260, (peer) => {
    peer.socket.pause();
    peer.socket.write(encodeHttp1({ path: "/grpc.health.v1.Health/Watch", headers, body }));
  });
}

/** Sends half of a body, and never the rest. */
async function halfBodies(): Promise<AsyncDisposable> {
  const headers = { ...listHeaders(), "content-length": String(mebibyte) };
  return openMany(48, (peer) => {
    peer.socket.write(encodeHttp1({ path: service.path, headers, body: Buffer.alloc(mebibyte / 2, " ") }));
  });
}

/** Connects and goes away, again and again. */
async function comeAndGo(): Promise<AsyncDisposable> {
  for (let round = 0; round < 8; round++) {
    const peers = await openMany(64, (peer, index) => {
      if (index % 2 === 0) peer.socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
      peer.socket.resetAndDestroy();
    });
    await peers[Symbol.asyncDispose]();
  }
  return { [Symbol.asyncDispose]: async () => {} };
}

async function bombs(): Promise<AsyncDisposable> {
  const headers = { ...listHeaders(), "content-encoding": "gzip" };
  const sent = Array.from({ length: 24 }, async () => {
    const answer = await wires["Connect JSON"].send(service.url, { path: service.path, headers, body: bomb });
    expect(verdictOf(wires["Connect JSON"], answer)).toBe("ResourceExhausted TOO_LARGE");
  });
  await Promise.all(sent);
  return { [Symbol.asyncDispose]: async () => {} };
}

/** Ends them by reset: what they were not sent yet is of no use to them. */
async function openMany(count: number, begin: (peer: Peer, index: number) => void): Promise<AsyncDisposable> {
  const peers = await Promise.all(Array.from({ length: count }, () => openPeer(service.url)));
  for (const [index, peer] of peers.entries()) begin(peer, index);
  return {
    async [Symbol.asyncDispose]() {
      for (const { socket } of peers) socket.resetAndDestroy();
      await Promise.all(peers.map((peer) => peer[Symbol.asyncDispose]()));
    },
  };
}

const loads = {
  "callers over HTTP/2 that never read": neverReadHttp2,
  "callers over HTTP/1.1 that never read": neverReadHttp1,
  "watchers that never read": neverReadWatch,
  "bodies that stay halves": halfBodies,
  "connections that come and go": comeAndGo,
  bombs: bombs,
};

test.each(Object.entries(loads))(
  "others are served beside %s, of whom no connection is left",
  async (_, load) => {
    await bear(load);
  },
);

const rounds = 2;
/** What compiling and caching may still add. A call, a session or a timer that stays each time is several times that. */
const toleranceBytes = 2 * mebibyte;

test("nothing of all these is kept in memory", { timeout: 90_000 }, async () => {
  const before = await service.keptBytes(); // Each of them was there once.
  for (let round = 0; round < rounds; round++) {
    for (const load of Object.values(loads)) await bear(load);
  }
  await expect.poll(() => service.keptBytes(), { timeout: 20_000 }).toBeLessThan(before + toleranceBytes);
});

async function bear(load: () => Promise<AsyncDisposable>): Promise<void> {
  {
    await using _callers = await load();
    expect(await service.callWell()).toBe("ok");
  }
  expect(await service.callWell()).toBe("ok");
  await expect.poll(() => service.connections(), { timeout: 10_000, interval: 10 }).toBe(0);
  expect(service.complaints()).toEqual([]);
}
