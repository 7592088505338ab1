import { fromBinary, toBinary, toJsonString, type DescMessage, type Message } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { ErrorInfoSchema } from "#libs/gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "#libs/gen/google/rpc/status_pb.ts";
import { sendHttp1, sendHttp2, type RawAnswer, type SendRequest } from "./raw-http.ts";

/** One way of making a call: a protocol, its encoding and a version of HTTP. */
export interface Wire {
  readonly send: SendRequest;
  readonly contentType: string;
  /** How a body says how it is compressed. */
  readonly encodingHeader: "grpc-encoding" | "content-encoding";
  /** Whether messages come in frames of their own. */
  readonly framed: boolean;
  readonly encode: (schema: DescMessage, message: Message) => Buffer;
  /** The status of an answer that is neither absent nor bare HTTP. */
  readonly read: (answer: RawAnswer) => Status | undefined;
}

interface Status {
  readonly code: Code | undefined;
  readonly reason: string | undefined;
}

const done: Status = { code: undefined, reason: undefined };
const binary = (schema: DescMessage, message: Message) => Buffer.from(toBinary(schema, message));

/** Each protocol once, over both versions of HTTP and in both encodings. */
export const wires = {
  grpc: {
    send: sendHttp2,
    contentType: "application/grpc",
    encodingHeader: "grpc-encoding",
    framed: true,
    encode: (schema, message) => frame(binary(schema, message)),
    read: ({ headers, trailers }) => readGrpc({ ...headers, ...trailers }),
  },
  "gRPC-Web": {
    send: sendHttp1,
    contentType: "application/grpc-web+proto",
    encodingHeader: "grpc-encoding",
    framed: true,
    encode: (schema, message) => frame(binary(schema, message)),
    read: ({ headers, body }) => readGrpc({ ...headers, ...trailersOf(body) }),
  },
  Connect: {
    send: sendHttp2,
    contentType: "application/proto",
    encodingHeader: "content-encoding",
    framed: false,
    encode: binary,
    read: readConnect,
  },
  "Connect JSON": {
    send: sendHttp1,
    contentType: "application/json",
    encodingHeader: "content-encoding",
    framed: false,
    encode: (schema, message) => Buffer.from(toJsonString(schema, message)),
    read: readConnect,
  },
} as const satisfies Record<string, Wire>;

export type WireName = keyof typeof wires;
export const wireNames = Object.keys(wires) as WireName[]; // The keys of a constant.

/** A message in the frame of gRPC, with any flags, and with any length. */
export function frame(message: Uint8Array, flags = 0, length = message.length): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flags, 0);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, message]);
}

/**
 * What the caller was told, in short: `ok`; code and reason, `InvalidArgument INVALID_REQUEST`; `HTTP 415` where no
 * protocol of ours answered; `closed` where nobody did.
 */
export function verdictOf(wire: Wire, answer: RawAnswer): string {
  if (answer.status === 0) return "closed";
  const status = wire.read(answer);
  if (status === undefined) return `HTTP ${answer.status}`;
  if (status.code === undefined) return "ok";
  return [Code[status.code], status.reason ?? "(no reason)"].join(" ");
}

/** What no caller is to see: file paths, stack traces, SQL, names of tables, of roles and of what it is built from. */
const internals: readonly RegExp[] = [
  /node_modules|node:internal|file:\/\/|\.[jt]s:\d+/,
  /(?:^|[\s"'(])\/(?:home|root|tmp|usr|var|opt|work|app|srv|proc)\//,
  /^\s*at .+:\d+/m,
  /\bat (?:Object|async|process|new|Module|Function|Array)\b/,
  /\b(?:SELECT|INSERT INTO|DELETE FROM|UPDATE \w+ SET|BEGIN ISOLATION|SET LOCAL|COMMIT|ROLLBACK)\b/,
  /\b(?:relation|constraint|column) "/i,
  /\b(?:audit_entries|case_contents|recorded_answers|case_answers|dead_letters|subject_heads|outbox)\b/,
  /\b(?:case_app|case_owner|case_relay|audit_app|audit_owner|audit_signer)\b/,
  /postgres|\bpg\b|sqlstate|invalid byte sequence|\b22021\b|\bsyntax error at\b/i,
  /\bE(?:CONN\w+|PIPE|NOENT|ACCES)\b|ERR_[A-Z]/,
  /TypeError|RangeError|ReferenceError|SyntaxError|Cannot read prop|is not a function|undefined \(/,
];

/** What of `internals` shows in an answer, looked for in every byte, and in what its details are made of. */
export function internalsIn({ headers, trailers, body }: RawAnswer): readonly string[] {
  const texts = [...Object.entries(headers), ...Object.entries(trailers)].flat();
  const all = [...texts, body.toString("latin1")];
  const details = all.flatMap((text) => text.match(/[\w+/-]{16,}/g) ?? []);
  const decoded = details.map((text) => Buffer.from(text, "base64").toString("latin1"));
  const written = [...all, ...decoded, ...all.map(unescape)];
  return written.flatMap((text) => internals.flatMap((pattern) => pattern.exec(text)?.[0] ?? []));
}

/** grpc-message is percent-encoded. */
function unescape(text: string): string {
  return text.replace(/%([0-9A-F]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

function readGrpc(headers: Readonly<Record<string, string>>): Status | undefined {
  const status = headers["grpc-status"];
  if (status === undefined) return undefined;
  if (status === "0") return done;
  const details = Buffer.from(headers["grpc-status-details-bin"] ?? "", "base64");
  const infos = fromBinary(StatusSchema, details).details.flatMap(
    (any) => anyUnpack(any, ErrorInfoSchema) ?? [],
  );
  return { code: Number(status), reason: infos[0]?.reason };
}

/** The trailers of gRPC-Web, which come as the last frame of the body. */
function trailersOf(body: Buffer): Record<string, string> {
  const trailerFlag = 0x80;
  for (let at = 0; at + 5 <= body.length; at += 5 + body.readUInt32BE(at + 1)) {
    if ((body.readUInt8(at) & trailerFlag) === 0) continue;
    const lines = body
      .toString("latin1", at + 5)
      .split("\r\n")
      .filter((line) => line !== "");
    return Object.fromEntries(
      lines.map((line) => [
        line.slice(0, line.indexOf(":")).toLowerCase(),
        line.slice(line.indexOf(":") + 1).trim(),
      ]),
    );
  }
  return {};
}

interface ConnectFailure {
  readonly code: string;
  readonly details?: readonly { readonly type: string; readonly value: string }[];
}

function readConnect({ status, headers, body }: RawAnswer): Status | undefined {
  if (status === 200) return done;
  if (headers["content-type"] !== "application/json") return undefined;
  const { code, details = [] }: ConnectFailure = JSON.parse(body.toString());
  const info = details.find(({ type }) => type === ErrorInfoSchema.typeName);
  const name = code.replace(/(?:^|_)(\w)/g, (_, letter: string) => letter.toUpperCase());
  return {
    code: Code[name as keyof typeof Code], // As the Connect protocol writes its codes.
    reason: info && fromBinary(ErrorInfoSchema, Buffer.from(info.value, "base64")).reason,
  };
}
