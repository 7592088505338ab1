import { afterAll, beforeAll, expect, test } from "vitest";
import { frame, internalsIn } from "../support/attack-http.ts";
import { startAttackedService, type AttackedService } from "../support/attack-http-process.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import type { RawAnswer } from "../support/raw-http.ts";
import {
  callHead,
  flag,
  frameType as type,
  framesOf,
  headerBlock,
  http2Frame,
  nthStream,
  openRawHttp2,
  resetOf,
  setting,
  uint32,
  type RawHttp2,
} from "../support/raw-http2.ts";

expectNoLeaks();

const stack = new AsyncDisposableStack();
let service: AttackedService;

beforeAll(async () => {
  service = stack.use(await startAttackedService());
});
afterAll(() => stack.disposeAsync());

/** Makes one attack over a connection of its own; afterwards all is as before, and others are served. */
async function attack(
  settings: Uint8Array | undefined,
  run: (peer: RawHttp2) => Promise<unknown>,
): Promise<unknown> {
  let outcome: unknown;
  {
    await using peer = await openRawHttp2(service.url, settings);
    outcome = await run(peer);
    expect(internalsIn(asAnswer(peer.peer.seen()))).toEqual([]);
  }
  expect(await service.callWell()).toBe("ok");
  await expect.poll(() => service.connections(), { timeout: 10_000, interval: 10 }).toBe(0);
  expect(service.complaints()).toEqual([]);
  return outcome;
}

/** Of all that came what is text as it stands. Headers are compressed: chance would spell words in them. */
function asAnswer(seen: Buffer): RawAnswer {
  const readable = framesOf(seen).filter((found) => !compressed.has(found.type));
  return {
    status: 0,
    headers: {},
    trailers: {},
    body: Buffer.concat(readable.map(({ payload }) => payload)),
  };
}
const compressed: ReadonlySet<number> = new Set([type.headers, type.continuation]);

const head = (...fields: readonly (readonly [string, string])[]) =>
  callHead(service.path, service.token, ...fields);

const open = (stream: number, ...fields: readonly (readonly [string, string])[]) =>
  http2Frame(type.headers, flag.endHeaders, stream, head(...fields));
const ask = (stream: number) => [
  open(stream),
  http2Frame(type.data, flag.endStream, stream, frame(Buffer.alloc(0))),
];
const reset = (stream: number) => http2Frame(type.rstStream, 0, stream, uint32(8));
const ping = http2Frame(type.ping, 0, 0, Buffer.alloc(8));

/** Sends as much as is taken of what never ends; tells what the connection ended with, `still open` where it did not. */
async function flood(
  peer: RawHttp2,
  piece: (index: number) => readonly Uint8Array[],
  count: number,
): Promise<string> {
  const batch = 64;
  for (let index = 0; index < count; index += batch) {
    const pieces = Array.from({ length: batch }, (_, at) => piece(index + at)).flat();
    if (!(await peer.send(...pieces))) return peer.goodbye();
  }
  await peer.send(ping);
  const answer = await peer.frame((found) => found.type === type.ping && found.flags === flag.ack);
  return answer === undefined ? peer.goodbye() : "still open";
}

const ended = /^(closed|ENHANCE_YOUR_CALM|INTERNAL_ERROR|PROTOCOL_ERROR)$/;

interface Flood {
  /** What goes before. */
  readonly first?: () => Uint8Array;
  readonly piece: (index: number) => readonly Uint8Array[];
  readonly count: number;
}

const floods: Readonly<Record<string, Flood>> = {
  "10,000 calls that are reset as soon as they are made": {
    piece: (index) => [open(nthStream(index)), reset(nthStream(index))],
    count: 10_000,
  },
  "10,000 calls that are reset once they were asked": {
    piece: (index) => [...ask(nthStream(index)), reset(nthStream(index))],
    count: 10_000,
  },
  "10,000 calls that make the server reset them": {
    piece: (index) => [
      ...ask(nthStream(index)),
      http2Frame(type.windowUpdate, 0, nthStream(index), uint32(0)),
    ],
    count: 10_000,
  },
  "headers that go on for ever": {
    first: () => http2Frame(type.headers, 0, 1, head()),
    piece: (index) => [http2Frame(type.continuation, 0, 1, headerBlock([[`x-${index}`, "y".repeat(8_000)]]))],
    count: 10_000,
  },
  "headers that go on for ever, without a word": {
    first: () => http2Frame(type.headers, 0, 1, head()),
    piece: () => [http2Frame(type.continuation, 0, 1)],
    count: 1_000_000,
  },
  "settings without end": { piece: () => [http2Frame(type.settings, 0, 0)], count: 1_000_000 },
  "pings without end": { piece: () => [ping], count: 1_000_000 },
  "a message in frames without a byte": {
    first: () => open(1),
    piece: () => [http2Frame(type.data, 0, 1)],
    count: 1_000_000,
  },
};

test.each(Object.entries(floods))(
  "%s end the connection, and others are served meanwhile",
  async (_, flooding) => {
    const { first, piece, count } = flooding;
    const outcome = await attack(undefined, async (peer) => {
      if (first) await peer.send(first());
      const [over, others] = await Promise.all([flood(peer, piece, count), service.callWell()]);
      expect(others).toBe("ok");
      return over;
    });
    expect(outcome).toMatch(ended);
  },
);

const untilGoodbye =
  (...frames: readonly Uint8Array[]) =>
  async (peer: RawHttp2) => {
    await peer.send(...frames);
    return peer.goodbye();
  };
/** What the stream is reset with, or the connection ended. */
const untilReset =
  (...frames: readonly Uint8Array[]) =>
  async (peer: RawHttp2) => {
    await peer.send(...frames);
    const found = await peer.frame(({ type: kind }) => kind === type.rstStream);
    return found === undefined ? peer.goodbye() : resetOf(found);
  };

type Breach = readonly [
  name: string,
  outcome: string,
  run: (peer: RawHttp2) => Promise<string>,
  settings?: Buffer,
];

/** Against RFC 9113. What it says of each: the name of the error. */
const breaches: () => readonly Breach[] = () => [
  ["a connection window beyond 2^31", "FLOW_CONTROL_ERROR", untilGoodbye(grow(0), grow(0))],
  ["a call's window beyond 2^31", "FLOW_CONTROL_ERROR", untilReset(open(1), grow(1), grow(1))],
  [
    "a window that grows by nothing",
    "PROTOCOL_ERROR",
    untilGoodbye(http2Frame(type.windowUpdate, 0, 0, uint32(0))),
  ],
  ["a first window beyond 2^31", "FLOW_CONTROL_ERROR", untilGoodbye(), setting(4, 0x80000000)],
  ["frames of at most one byte", "PROTOCOL_ERROR", untilGoodbye(), setting(5, 1)],
  ["half a setting", "FRAME_SIZE_ERROR", untilGoodbye(), Buffer.alloc(5)],
  [
    "a frame longer than allowed",
    "FRAME_SIZE_ERROR",
    untilGoodbye(open(1), http2Frame(type.data, 0, 1, Buffer.alloc(20_000))),
  ],
  [
    "a frame that says it has 16 MiB",
    "FRAME_SIZE_ERROR",
    untilGoodbye(http2Frame(type.data, 0, 1, Buffer.alloc(9), 0xffffff)),
  ],
  ["data of no call", "PROTOCOL_ERROR", untilGoodbye(http2Frame(type.data, 0, 0, Buffer.alloc(9)))],
  ["a call with a server's number", "PROTOCOL_ERROR", untilGoodbye(open(2))],
  [
    "a promise from a client",
    "PROTOCOL_ERROR",
    untilGoodbye(http2Frame(type.pushPromise, flag.endHeaders, 1, Buffer.concat([uint32(2), head()]))),
  ],
  ["a reset of a call that was not made", "PROTOCOL_ERROR", untilGoodbye(reset(5))],
  [
    "headers that are not compressed as they say",
    "COMPRESSION_ERROR",
    untilGoodbye(http2Frame(type.headers, flag.endHeaders, 1, Buffer.alloc(99, 0xff))),
  ],
  [
    "headers that say little again and again",
    "ENHANCE_YOUR_CALM",
    untilReset(http2Frame(type.headers, flag.endHeaders, 1, repeatedHeader())),
  ],
  ["a header in capitals", "PROTOCOL_ERROR", untilReset(open(1, ["X-A", "1"]))],
  ["two paths", "PROTOCOL_ERROR", untilReset(open(1, [":path", "/"]))],
  ["a pseudo header that nobody knows", "PROTOCOL_ERROR", untilReset(open(1, [":nonsense", "/"]))],
  ["a header of HTTP/1.1", "PROTOCOL_ERROR", untilReset(open(1, ["transfer-encoding", "chunked"]))],
  // Node's own account of a breach of the same kind.
  [
    "more data than declared",
    "INTERNAL_ERROR",
    untilReset(open(1, ["content-length", "5"]), http2Frame(type.data, flag.endStream, 1, Buffer.alloc(50))),
  ],
];

const grow = (stream: number) => http2Frame(type.windowUpdate, 0, stream, uint32(0x7fffffff));

/** A header of 4 kB, and then 8,000 times the byte that stands for it (RFC 7541, section 6.1). */
function repeatedHeader(): Buffer {
  const indexed = Buffer.from(headerBlock([["x", "y".repeat(3_900)]]));
  indexed.writeUInt8(0x40, 0);
  return Buffer.concat([head(), indexed, Buffer.alloc(8_000, 0x80 | 62)]);
}

test("what breaks HTTP/2 ends the call or the connection, by the name that its rules have for it", async () => {
  const told: Record<string, unknown> = {};
  for (const [name, , run, settings] of breaches()) told[name] = await attack(settings, run);
  expect(told).toEqual(Object.fromEntries(breaches().map(([name, outcome]) => [name, outcome])));
});

test("frames of a kind that nobody knows are passed over", async () => {
  const answered = await attack(undefined, async (peer) => {
    await peer.send(http2Frame(99, 0xff, 0, Buffer.alloc(99)), ...ask(1));
    return peer.frame((found) => found.type === type.headers && found.stream === 1);
  });
  expect(answered).toBeDefined();
});

test("of more calls at a time than allowed the rest are refused, and may be made again", async () => {
  const refused = await attack(undefined, async (peer) => {
    for (let index = 0; index < 1_000; index++) await peer.send(open(nthStream(index)));
    await peer.send(ping);
    await peer.frame(({ type: kind }) => kind === type.ping);
    return framesOf(peer.peer.seen())
      .filter(({ type: kind }) => kind === type.rstStream)
      .map(resetOf);
  });
  expect(refused).toEqual(Array.from({ length: 1_000 - 128 }, () => "REFUSED_STREAM"));
});

test.each(["a\r\nx-evil: 1", "a\nx-evil: 1", "a\0b", "a b", "\u00e9", "x".repeat(129)])(
  "a correlation id of %j is not taken up",
  async (correlationId) => {
    const before = service.calls().length;
    await attack(undefined, async (peer) => {
      await peer.send(open(1, ["x-correlation-id", correlationId]), ...ask(1).slice(1));
      await peer.frame((found) => found.stream === 1 && (found.flags & flag.endStream) !== 0);
      expect(peer.peer.seen().includes("evil")).toBe(false);
    });
    await expect.poll(() => service.calls().length).toBeGreaterThanOrEqual(before + 2); // This one, and the good one.
    const ids = service
      .calls()
      .slice(before)
      .map((call) => call.correlationId);
    for (const id of ids) expect(id).toMatch(/^[0-9a-f-]{36}$/);
  },
);
