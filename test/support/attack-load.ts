/** Hundreds of callers at once who mean no good, each in a way of his own; they come and go in waves. */
import { randomBytes, randomUUID } from "node:crypto";
import { gzipSync } from "node:zlib";
import { create, type Message } from "@bufbuild/protobuf";
import {
  CaseService,
  CreateCaseRequestSchema,
  ListCasesRequestSchema,
} from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { frame, verdictOf, wires } from "./attack-http.ts";
import { content } from "./case-service.ts";
import { encodeHttp1, openPeer, readHttp1, type Peer } from "./raw-http.ts";
import {
  callHead,
  flag,
  frameType as type,
  http2Frame,
  nthStream,
  openRawHttp2,
  setting,
  uint32,
  type RawHttp2,
} from "./raw-http2.ts";

export interface LoadTarget {
  readonly url: string;
  /** Of a caseworker, whose tenant has cases that fill pages. */
  readonly token: string;
}

interface BadCaller {
  /** In a wave. */
  readonly count: number;
  /** What he may be told; `left` where he does not wait for anything. */
  readonly verdicts: readonly string[];
  /** `over` settles when those who do not wait for it are done. */
  readonly call: (target: LoadTarget, over: Promise<unknown>) => Promise<string>;
}

const json = wires["Connect JSON"];
const listPath = `/${CaseService.typeName}/ListCases`;
const createPath = `/${CaseService.typeName}/CreateCase`;
const listing = wires.grpc.encode(ListCasesRequestSchema, create(ListCasesRequestSchema, { pageSize: 100 }));
const bomb = gzipSync(Buffer.alloc(16 * 1024 * 1024, " "));
const piece = Buffer.alloc(65_536, " ");
const initialWindowSize = 4;
const cancel = uint32(8);

const makeCreate = (): Message =>
  create(CreateCaseRequestSchema, { requestId: randomUUID(), caseType: "attack", content });

function request(
  { token }: Pick<LoadTarget, "token">,
  path: string,
  body: Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): Buffer {
  const all = { "content-type": json.contentType, authorization: `Bearer ${token}`, ...headers };
  return encodeHttp1({ path, headers: all, body, ends: false });
}

/** Says something over HTTP/1.1, or over nothing at all, and does what comes then. */
const saying =
  (
    bytes: (target: LoadTarget) => Uint8Array,
    then: (peer: Peer, over: Promise<unknown>) => Promise<string> | string,
  ): BadCaller["call"] =>
  async (target, over) => {
    await using peer = await openPeer(target.url);
    await write(peer, bytes(target));
    return await then(peer, over);
  };

const write = (peer: Peer, bytes: Uint8Array): Promise<void> =>
  new Promise((resolve) => peer.socket.write(bytes, () => resolve()));
const hear = async (peer: Peer): Promise<string> => verdictOf(json, await readHttp1(peer));
function leave(peer: Peer): string {
  peer.socket.resetAndDestroy();
  return "left";
}
const stay = async (peer: Peer, over: Promise<unknown>): Promise<string> => {
  await over;
  return leave(peer);
};

/** Makes many calls over one connection of HTTP/2, and does what comes then. */
const calling =
  (
    calls: number,
    frames: (target: LoadTarget, stream: number) => readonly Uint8Array[],
    then: (connection: RawHttp2, over: Promise<unknown>) => Promise<string> | string,
    settings?: Uint8Array,
  ): BadCaller["call"] =>
  async (target, over) => {
    await using connection = await openRawHttp2(target.url, settings);
    for (let call = 0; call < calls; call += 50) {
      const some = Array.from({ length: Math.min(50, calls - call) }, (_, at) => nthStream(call + at));
      if (!(await connection.send(...some.flatMap((stream) => frames(target, stream))))) return "closed";
    }
    return await then(connection, over);
  };

const open = ({ token }: LoadTarget, path: string, stream: number) =>
  http2Frame(type.headers, flag.endHeaders, stream, callHead(path, token));
const askOn =
  (path: string, message: Uint8Array) =>
  (target: LoadTarget, stream: number): readonly Uint8Array[] => [
    open(target, path, stream),
    http2Frame(type.data, flag.endStream, stream, message),
  ];
const ask = askOn(listPath, listing);
/** What needs no database, so that others do not have to wait for theirs. */
const check = askOn("/grpc.health.v1.Health/Check", frame(Buffer.alloc(0)));
const reset = (stream: number) => http2Frame(type.rstStream, 0, stream, cancel);
/** Once the server has seen all that was sent. */
async function leaveAfterPing(connection: RawHttp2): Promise<string> {
  await connection.send(http2Frame(type.ping, 0, 0, Buffer.alloc(8)));
  const answer = await connection.frame((found) => found.type === type.ping && found.flags === flag.ack);
  return answer === undefined ? "closed" : leave(connection.peer);
}

/** Answers a connection. */
const unread = 2;

const badCallers: Readonly<Record<string, BadCaller>> = {
  "says nothing": { count: 30, verdicts: ["left"], call: saying(() => Buffer.alloc(0), stay) },
  "begins a request": { count: 30, verdicts: ["left"], call: saying(() => Buffer.from("POST /x HTT"), stay) },
  "begins HTTP/2": {
    count: 20,
    verdicts: ["left"],
    call: saying(() => Buffer.from("PRI * HTTP/2.0\r\n"), stay),
  },
  "goes at once": { count: 60, verdicts: ["left"], call: saying(() => Buffer.alloc(0), leave) },
  "goes in the middle of a body": {
    count: 30,
    verdicts: ["left"],
    call: saying((target) => request(target, createPath, Buffer.from('{"requestId"')), leave),
  },
  "says half a body, and that there is no more": {
    count: 20,
    verdicts: ["HTTP 400"],
    call: saying(
      (target) => request(target, createPath, Buffer.from('{"requestId"')),
      (peer) => (peer.socket.end(), hear(peer)),
    ),
  },
  "says it all but for one byte of declared rubbish": {
    count: 20,
    verdicts: ["left"],
    call: saying((target) => {
      const body = json.encode(CreateCaseRequestSchema, makeCreate());
      return request(target, createPath, body, { "content-length": String(body.length + 1) });
    }, leave),
  },
  "sends garbage": {
    count: 30,
    verdicts: ["HTTP 400"],
    call: saying(() => Buffer.concat([Buffer.of(0), randomBytes(4_096)]), hear),
  },
  "sends a body without end": {
    count: 8,
    // The answer is lost where the connection ends with bytes on their way.
    verdicts: ["ResourceExhausted TOO_LARGE", "closed"],
    call: saying(
      (target) => request(target, createPath, Buffer.alloc(0)),
      async (peer) => {
        const chunk = Buffer.concat([Buffer.from("10000\r\n"), piece, Buffer.from("\r\n")]);
        while (peer.seen().length === 0 && peer.socket.writable) await write(peer, chunk);
        return hear(peer);
      },
    ),
  },
  "sends a bomb": {
    count: 4,
    verdicts: ["ResourceExhausted TOO_LARGE"],
    call: saying(
      (target) =>
        request(target, createPath, bomb, {
          "content-encoding": "gzip",
          "content-length": String(bomb.length),
        }),
      hear,
    ),
  },
  "has no token": {
    count: 20,
    verdicts: ["Unauthenticated UNAUTHENTICATED"],
    call: saying(
      () => request({ token: "none" }, createPath, Buffer.from("{}"), { "content-length": "2" }),
      hear,
    ),
  },
  "reads nothing of HTTP/1.1": {
    count: 4,
    verdicts: ["left"],
    async call(target, over) {
      await using peer = await openPeer(target.url);
      peer.socket.pause();
      const headers = { connection: "keep-alive", "content-length": "16" };
      const one = request(target, listPath, Buffer.from('{"pageSize":100}'), headers);
      await write(peer, Buffer.concat(Array.from({ length: unread }, () => one)));
      return await stay(peer, over);
    },
  },
  "reads nothing of HTTP/2": {
    count: 8,
    verdicts: ["left"],
    call: calling(
      unread,
      ask,
      async (connection, over) => {
        const last = nthStream(unread - 1);
        await connection.frame((found) => found.type === type.headers && found.stream === last);
        return await stay(connection.peer, over);
      },
      setting(initialWindowSize, 0),
    ),
  },
  "resets each call": {
    count: 10,
    verdicts: ["left"],
    call: calling(20, (target, stream) => [...check(target, stream), reset(stream)], leaveAfterPing),
  },
  "resets calls without end": {
    count: 1,
    verdicts: ["closed"],
    call: calling(3_000, (target, stream) => [open(target, "/", stream), reset(stream)], leaveAfterPing),
  },
  "says a whole write, and instead of its end that it is off": {
    count: 10,
    verdicts: ["left"],
    call: calling(
      10,
      (target, stream) => {
        const message = wires.grpc.encode(CreateCaseRequestSchema, makeCreate());
        return [open(target, createPath, stream), http2Frame(type.data, 0, stream, message), reset(stream)];
      },
      leaveAfterPing,
    ),
  },
  "goes without its answers": {
    count: 5,
    verdicts: ["left"],
    call: calling(
      20,
      (target, stream) => ask(target, stream),
      ({ peer }) => leave(peer),
    ),
  },
};

/** Those who stay until the others are done. */
const stays = new Set([
  "says nothing",
  "begins a request",
  "begins HTTP/2",
  "reads nothing of HTTP/1.1",
  "reads nothing of HTTP/2",
]);

/** One wave of them all at once; tells who was told what he should not have been. */
export async function sendWave(target: LoadTarget): Promise<readonly string[]> {
  const over = Promise.withResolvers<void>();
  const each = Object.entries(badCallers).flatMap(([name, { count, verdicts, call }]) =>
    Array.from({ length: count }, async () => {
      const verdict = await call(target, over.promise).catch((error: unknown) => String(error));
      return { name, verdict, isRight: verdicts.includes(verdict) };
    }).map((outcome) => ({ name, outcome })),
  );
  await Promise.allSettled(each.flatMap(({ name, outcome }) => (stays.has(name) ? [] : outcome)));
  over.resolve();
  const outcomes = await Promise.all(each.map(({ outcome }) => outcome));
  return outcomes.flatMap(({ name, verdict, isRight }) => (isRight ? [] : `${name}: ${verdict}`));
}
