import { openPeer, type Peer } from "./raw-http.ts";

/** RFC 9113, section 6. */
export const frameType = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const flag = { ack: 1, endStream: 1, endHeaders: 4 } as const;

/** RFC 9113, section 7. */
const errorNames = [
  "NO_ERROR",
  "PROTOCOL_ERROR",
  "INTERNAL_ERROR",
  "FLOW_CONTROL_ERROR",
  "SETTINGS_TIMEOUT",
  "STREAM_CLOSED",
  "FRAME_SIZE_ERROR",
  "REFUSED_STREAM",
  "CANCEL",
  "COMPRESSION_ERROR",
  "CONNECT_ERROR",
  "ENHANCE_YOUR_CALM",
];

export interface Http2Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const headerBytes = 9;

/** One frame; `length` may lie about its payload. */
export function http2Frame(
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array = Buffer.alloc(0),
  length = payload.length,
): Buffer {
  const head = Buffer.alloc(headerBytes);
  head.writeUIntBE(length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A header block in which every field is written out as it is (RFC 7541, section 6.2.2), so that it may hold anything. */
export function headerBlock(fields: Iterable<readonly [name: string, value: string]>): Buffer {
  const text = (value: string) => {
    const bytes = Buffer.from(value, "latin1");
    return Buffer.concat([integer(bytes.length, 7), bytes]);
  };
  return Buffer.concat([...fields].flatMap(([name, value]) => [Buffer.of(0), text(name), text(value)]));
}

/** The head of a good call of gRPC, and whatever else. */
export function callHead(
  path: string,
  token: string,
  ...fields: readonly (readonly [name: string, value: string])[]
): Buffer {
  return headerBlock([
    [":method", "POST"],
    [":scheme", "http"],
    [":authority", "localhost"],
    [":path", path],
    ["content-type", "application/grpc"],
    ["authorization", `Bearer ${token}`],
    ["te", "trailers"],
    ...fields,
  ]);
}

/** The number of a client's stream, from 0. */
export const nthStream = (index: number): number => 2 * index + 1;

/** RFC 7541, section 5.1. */
function integer(value: number, prefixBits: number): Buffer {
  const most = 2 ** prefixBits - 1;
  if (value < most) return Buffer.of(value);
  const bytes = [most];
  let rest = value - most;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.of(...bytes, rest);
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function setting(id: number, value: number): Buffer {
  return Buffer.concat([Buffer.of(0, id), uint32(value)]);
}

/** A HTTP/2 connection whose every frame is made by hand. */
export interface RawHttp2 extends AsyncDisposable {
  readonly peer: Peer;
  /** Sends bytes, as fast as they are taken; false once the connection has ended. */
  send(...bytes: readonly Uint8Array[]): Promise<boolean>;
  /** The first frame that came and fits; `undefined` when the connection ends without it. */
  frame(fits: (frame: Http2Frame) => boolean): Promise<Http2Frame | undefined>;
  /** The error that the server ended the connection with, by name; `closed` where it gave none. */
  goodbye(): Promise<string>;
}

/** Connects, and sends preface and settings. */
export async function openRawHttp2(url: string, settings: Uint8Array = Buffer.alloc(0)): Promise<RawHttp2> {
  const peer = await openPeer(url);
  const { socket } = peer;
  let over = false;
  void peer.ended.then(() => (over = true));
  socket.write(Buffer.concat([preface, http2Frame(frameType.settings, 0, 0, settings)]));
  return {
    peer,
    async send(...bytes) {
      if (over || !socket.writable) return false;
      if (socket.write(Buffer.concat(bytes))) return true;
      const drained = Promise.withResolvers<void>();
      socket.once("drain", drained.resolve);
      await Promise.race([drained.promise, peer.ended]);
      return !over;
    },
    frame: (fits) => peer.until((seen) => framesOf(seen).find(fits)),
    async goodbye() {
      await peer.until(() => undefined);
      const goaway = framesOf(peer.seen()).findLast(({ type }) => type === frameType.goaway);
      return goaway === undefined ? "closed" : errorName(goaway.payload.readUInt32BE(4));
    },
    [Symbol.asyncDispose]: () => peer[Symbol.asyncDispose](),
  };
}

/** The error of a RST_STREAM, by name. */
export function resetOf(frame: Http2Frame): string {
  return errorName(frame.payload.readUInt32BE(0));
}

function errorName(code: number): string {
  return errorNames[code] ?? `error ${code}`;
}

export function framesOf(bytes: Buffer): Http2Frame[] {
  const frames: Http2Frame[] = [];
  for (let at = 0; at + headerBytes <= bytes.length;) {
    const end = at + headerBytes + bytes.readUIntBE(at, 3);
    if (end > bytes.length) break;
    const payload = bytes.subarray(at + headerBytes, end);
    frames.push({
      type: bytes.readUInt8(at + 3),
      flags: bytes.readUInt8(at + 4),
      stream: bytes.readUInt32BE(at + 5) & 0x7fffffff,
      payload,
    });
    at = end;
  }
  return frames;
}
