import { once } from "node:events";
import { connect as connectHttp2, type ClientHttp2Session, type IncomingHttpHeaders } from "node:http2";
import { connect, type Socket } from "node:net";

/** A request as it goes over the wire: nothing is added, nothing is put right. */
export interface RawRequest {
  readonly method?: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: Uint8Array;
  /** False: the body has no end. */
  readonly ends?: boolean;
}

/** What came back, down to the last byte. */
export interface RawAnswer {
  /** 0: the connection or the stream was closed without an answer. */
  readonly status: number;
  /** Of headers and trailers, names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly trailers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export type SendRequest = (url: string, request: RawRequest) => Promise<RawAnswer>;

/** For an answer or for the end of a connection: what takes longer hangs, also on a machine with twenty busy processes. */
const answerMs = 60_000;
const noAnswer: RawAnswer = { status: 0, headers: {}, trailers: {}, body: Buffer.alloc(0) };

/** Sends one request over a HTTP/2 connection of its own, once both sides know each other's limits. */
export const sendHttp2: SendRequest = async (url, request) => {
  using session = openHttp2(url);
  await within(once(session.http2, "remoteSettings"), "settings");
  return await exchangeHttp2(session.http2, request);
};

/** Sends one request over a HTTP/1.1 connection of its own. Headers without `content-length` send the body in chunks. */
export const sendHttp1: SendRequest = async (url, request) => {
  await using peer = await openPeer(url);
  peer.socket.write(encodeHttp1(request));
  return await readHttp1(peer);
};

/** A HTTP/2 session whose end, of whatever kind, throws nothing. */
export function openHttp2(url: string): { readonly http2: ClientHttp2Session } & Disposable {
  const http2 = connectHttp2(url);
  http2.on("error", () => {});
  return { http2, [Symbol.dispose]: () => http2.destroy() };
}

export async function exchangeHttp2(session: ClientHttp2Session, request: RawRequest): Promise<RawAnswer> {
  const { method = "POST", path, headers, body = Buffer.alloc(0), ends = true } = request;
  const stream = session.request(
    { ":method": method, ":path": path, ...copy(headers) },
    { endStream: false },
  );
  const chunks: Buffer[] = [];
  const over = Promise.withResolvers<void>();
  let answer = noAnswer;
  stream.on("response", (received) => {
    answer = { ...answer, status: received[":status"] ?? 0, headers: toText(received) };
  });
  stream.on("trailers", (received) => (answer = { ...answer, trailers: toText(received) }));
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream.on("error", () => {}); // Its `close` follows.
  for (const event of ["end", "close"]) stream.on(event, () => over.resolve());
  if (ends) stream.end(body);
  else stream.write(body);
  await within(over.promise, `an answer of ${path}`);
  return { ...answer, body: Buffer.concat(chunks) };
}

export function encodeHttp1({
  method = "POST",
  path,
  headers,
  body = Buffer.alloc(0),
  ends = true,
}: RawRequest): Buffer {
  const declared = Object.keys(headers).some((name) => name.toLowerCase() === "content-length");
  const all = {
    host: "localhost",
    connection: "close",
    ...(declared ? {} : { "transfer-encoding": "chunked" }),
    ...headers,
  };
  const lines = Object.entries(all).flatMap(([name, value]) =>
    [value].flat().map((one) => `${name}: ${one}\r\n`),
  );
  const head = Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`, "latin1");
  if (declared) return Buffer.concat([head, body]);
  const size = Buffer.from(body.length === 0 ? "" : `${body.length.toString(16)}\r\n`);
  const rest = body.length === 0 ? "" : "\r\n";
  return Buffer.concat([head, size, body, Buffer.from(`${rest}${ends ? "0\r\n\r\n" : ""}`)]);
}

/** A TCP connection that keeps what it is told. */
export interface Peer extends AsyncDisposable {
  readonly socket: Socket;
  seen(): Buffer;
  /** Resolves once what came holds what `found` looks for; `undefined` when the connection ends before that. */
  until<T>(found: (seen: Buffer) => T | undefined): Promise<T | undefined>;
  /** Settles when the other side is done, in whichever way. */
  readonly ended: Promise<void>;
}

export async function openPeer(url: string): Promise<Peer> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true, noDelay: true });
  let seen = Buffer.alloc(0);
  let came = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  socket.on("error", () => {}); // A reset is one way of being closed.
  socket.on("data", (chunk) => {
    seen = Buffer.concat([seen, chunk]);
    came.resolve();
    came = Promise.withResolvers();
  });
  for (const event of ["end", "close"]) socket.on(event, () => ended.resolve());
  await within(Promise.race([once(socket, "connect"), ended.promise]), "a connection");
  return {
    socket,
    seen: () => seen,
    ended: ended.promise,
    async until(found) {
      for (let over = false; ;) {
        const value = found(seen);
        if (value !== undefined || over) return value;
        over = await within(
          Promise.race([came.promise.then(() => false), ended.promise.then(() => true)]),
          `more than ${seen.length} bytes`,
        );
      }
    },
    async [Symbol.asyncDispose]() {
      if (socket.closed) return;
      socket.destroy();
      await once(socket, "close");
    },
  };
}

/** The first whole answer that a peer got; status 0 where the connection ended without one. */
export async function readHttp1(peer: Peer): Promise<RawAnswer> {
  return (await peer.until((seen) => parseHttp1(seen)[0])) ?? noAnswer;
}

/** The whole answers at the start of `bytes`. They have a length, or come in chunks; none is of another kind. */
export function parseHttp1(bytes: Buffer): RawAnswer[] {
  const end = bytes.indexOf("\r\n\r\n");
  if (end === -1) return [];
  const [statusLine = "", ...lines] = bytes.toString("latin1", 0, end).split("\r\n");
  const headers = Object.fromEntries(
    lines.map((line) => [
      line.slice(0, line.indexOf(":")).toLowerCase(),
      line.slice(line.indexOf(":") + 1).trim(),
    ]),
  );
  const rest = bytes.subarray(end + 4);
  const chunked = headers["transfer-encoding"] === "chunked";
  const found = chunked ? readChunks(rest) : readLength(rest, Number(headers["content-length"] ?? 0));
  if (found === undefined) return [];
  const answer = { status: Number(statusLine.split(" ")[1]), headers, trailers: {}, body: found.body };
  return [answer, ...parseHttp1(rest.subarray(found.length))];
}

function readLength(bytes: Buffer, length: number): { body: Buffer; length: number } | undefined {
  return bytes.length < length ? undefined : { body: bytes.subarray(0, length), length };
}

function readChunks(bytes: Buffer): { body: Buffer; length: number } | undefined {
  const chunks: Buffer[] = [];
  for (let at = 0; ;) {
    const line = bytes.indexOf("\r\n", at);
    if (line === -1) return undefined;
    const size = Number.parseInt(bytes.toString("latin1", at, line), 16);
    const next = line + 2 + size + 2;
    if (bytes.length < next) return undefined;
    chunks.push(bytes.subarray(line + 2, line + 2 + size));
    if (size === 0) return { body: Buffer.concat(chunks), length: next };
    at = next;
  }
}

function copy(headers: RawRequest["headers"]): Record<string, string | string[]> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, typeof value === "string" ? value : [...value]]),
  );
}

function toText(headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
}

/** Fails with what was waited for when it does not come. */
export async function within<T>(work: PromiseLike<T>, what: string, limitMs = answerMs): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`not within ${limitMs} ms: ${what}`)), limitMs);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
