import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { internalsIn } from "../support/attack-http.ts";
import { startAttackedService, type AttackedService } from "../support/attack-http-process.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { encodeHttp1, exchangeHttp2, openHttp2, openPeer, parseHttp1, within } from "../support/raw-http.ts";

expectNoLeaks();

const stack = new AsyncDisposableStack();
let service: AttackedService;

beforeAll(async () => {
  service = stack.use(await startAttackedService());
});
afterAll(() => stack.disposeAsync());

/** A good request, whole. */
function goodRequest(headers: Readonly<Record<string, string>> = {}): Buffer {
  return encodeHttp1({
    path: service.path,
    headers: {
      authorization: `Bearer ${service.token}`,
      "content-type": "application/json",
      "content-length": "14",
      ...headers,
    },
    body: Buffer.from('{"pageSize":1}'),
  });
}

/** The lines of a request as given, and a good request's body. */
const linesOf = (...lines: readonly string[]) =>
  Buffer.from(`${lines.join("\r\n")}\r\n\r\n{"pageSize":1}`, "latin1");
const first = () => `POST ${service.path} HTTP/1.1`;
const host = "host: localhost";
const json = "content-type: application/json";
const bearer = () => `authorization: Bearer ${service.token}`;

/** What is written to a new connection, and the status of what comes back; 0: it is closed without a word. */
const attacks: Readonly<Record<string, readonly [bytes: () => Buffer, status: number]>> = {
  "two lengths": [
    () => linesOf(first(), host, json, bearer(), "content-length: 14", "content-length: 15"),
    400,
  ],
  "a length and chunks": [
    () => linesOf(first(), host, json, bearer(), "content-length: 14", "transfer-encoding: chunked"),
    400,
  ],
  "a length below nothing": [() => linesOf(first(), host, json, bearer(), "content-length: -1"), 400],
  "a length that is no number": [() => linesOf(first(), host, json, bearer(), "content-length: 0x0e"), 400],
  "a length beyond all numbers": [
    () => linesOf(first(), host, json, bearer(), `content-length: ${"9".repeat(99)}`),
    400,
  ],
  "chunks coded twice": [
    () => linesOf(first(), host, json, bearer(), "transfer-encoding: chunked, chunked"),
    400,
  ],
  "a coding that nobody knows": [
    () => linesOf(first(), host, json, bearer(), "transfer-encoding: nonsense"),
    400,
  ],
  "a chunk of 256 EiB": [() => chunked(`${"f".repeat(17)}\r\n`), 400],
  "a chunk without a size": [() => chunked("nonsense\r\n"), 400],
  "a chunk with 100 kB about itself": [() => chunked(`1;${"x".repeat(100_000)}\r\n`), 413],
  "a chunk that is longer than it says": [() => chunked("1\r\n{}\r\n0\r\n\r\n"), 400],
  "a header without a colon": [() => linesOf(first(), host, json, bearer(), "nonsense"), 400],
  "a header with a NUL": [() => linesOf(first(), host, json, bearer(), "x: a\0b"), 400],
  "a header with a bare CR": [() => linesOf(first(), host, json, bearer(), "x: a\rx-evil: 1"), 400],
  "a header folded into two lines": [() => linesOf(first(), host, json, bearer(), "x: a", " b: c"), 400],
  "a space before a colon": [() => linesOf(first(), host, json, bearer(), "x : a"), 400],
  "a space in a name": [() => linesOf(first(), host, json, bearer(), "x y: a"), 400],
  "lines that end in LF": [() => Buffer.from(`${first()}\n${host}\n\n`), 400],
  "no host": [() => linesOf(first(), json, bearer()), 400],
  "two hosts": [() => linesOf(first(), host, "host: other", json, bearer()), 400],
  "HTTP/0.9": [() => Buffer.from(`POST ${service.path}\r\n\r\n`), 415],
  "HTTP/3.0": [() => linesOf(`POST ${service.path} HTTP/3.0`, host), 400],
  "a path of 100 kB": [() => linesOf(`POST /${"x".repeat(100_000)} HTTP/1.1`, host), 431],
  "a path outside of ASCII": [() => linesOf(`POST /\u00e9 HTTP/1.1`, host, "content-length: 0"), 400],
  "a whole URL for a path": [
    () =>
      linesOf(`POST http://example.com${service.path} HTTP/1.1`, host, json, bearer(), "content-length: 0"),
    404,
  ],
  "a star for a path": [() => linesOf("OPTIONS * HTTP/1.1", host), 404],
  "a tunnel": [() => linesOf("CONNECT example.com:443 HTTP/1.1", host), 0],
  "an expectation that nobody knows": [() => goodRequest({ expect: "nonsense" }), 417],
  "a TLS hello": [() => Buffer.from("16030100f5010000f10303", "hex"), 400],
  "random bytes": [() => Buffer.concat([Buffer.of(0), randomBytes(65_536)]), 400],
  zeroes: [() => Buffer.alloc(65_536), 400],
  "the preface of HTTP/2, and then HTTP/1.1": [
    () => Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), goodRequest()]),
    0,
  ],
};

function chunked(body: string): Buffer {
  const head = [first(), host, json, bearer(), "transfer-encoding: chunked"].join("\r\n");
  return Buffer.from(`${head}\r\n\r\n${body}`, "latin1");
}

test.each(Object.entries(attacks))(
  "%s: one clear status or a closed connection",
  async (_, [bytes, status]) => {
    const calls = service.calls().length;
    {
      await using peer = await openPeer(service.url);
      peer.socket.write(bytes());
      const answers = await within(
        peer.until((seen) => parseHttp1(seen)[0]),
        "an answer",
      );
      expect(answers?.status ?? 0).toBe(status);
      if (answers) expect(internalsIn(answers)).toEqual([]);
      expect(peer.seen().includes("evil")).toBe(false);
    }
    expect(await service.callWell()).toBe("ok");
    await expect.poll(() => service.connections(), { timeout: 10_000, interval: 10 }).toBe(0);
    await expect.poll(() => service.calls().length).toBeGreaterThan(calls);
    expect(service.complaints()).toEqual([]);
  },
);

const connections = 6;
const callsEach = 20;

test("both versions of HTTP are served on the one port at once, and each call has its own answer", async () => {
  const pipelined = Array.from({ length: connections }, async (_, connection) => {
    const ids = Array.from({ length: callsEach }, (__, call) => `h1-${connection}-${call}`);
    await using peer = await openPeer(service.url);
    peer.socket.write(
      Buffer.concat(ids.map((id) => goodRequest({ connection: "keep-alive", "x-correlation-id": id }))),
    );
    const answers = await peer.until((seen) => {
      const whole = parseHttp1(seen);
      return whole.length === callsEach ? whole : undefined;
    });
    expect(answers?.map(({ status }) => status)).toEqual(ids.map(() => 200));
    expect(answers?.map(({ headers }) => headers["x-correlation-id"])).toEqual(ids);
  });
  const multiplexed = Array.from({ length: connections }, async (_, connection) => {
    using session = openHttp2(service.url);
    const calls = Array.from({ length: callsEach }, async (__, call) => {
      const id = `h2-${connection}-${call}`;
      const answer = await exchangeHttp2(session.http2, {
        path: service.path,
        headers: {
          "content-type": "application/json",
          authorization: `Bearer ${service.token}`,
          "x-correlation-id": id,
        },
        body: Buffer.from("{}"),
      });
      expect([answer.status, answer.headers["x-correlation-id"]]).toEqual([200, id]);
    });
    await Promise.all(calls);
  });
  await Promise.all([...pipelined, ...multiplexed]);
});
