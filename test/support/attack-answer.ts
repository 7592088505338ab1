/** Reads answers of the Connect protocol to the last byte. */
import type { IncomingHttpHeaders } from "node:http";
import {
  fromBinary,
  toJson,
  type DescMessage,
  type DescMethod,
  type JsonObject,
  type JsonValue,
} from "@bufbuild/protobuf";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RequestInfoSchema,
  RetryInfoSchema,
} from "#libs/gen/google/rpc/error_details_pb.ts";

export interface Answer {
  /** `ok`, or code and reason: `not_found CASE_NOT_FOUND`. */
  readonly outcome: string;
  readonly headers: IncomingHttpHeaders;
  readonly error: AnsweredError | undefined;
  /** What was answered: each message of a stream. */
  readonly messages: readonly JsonObject[];
  /** Every byte of headers, body and error details, in latin1. */
  readonly raw: string;
}

export interface AnsweredError {
  readonly code: string;
  readonly message: string;
  readonly details: readonly { readonly type: string; readonly said: JsonValue }[];
}

/** An error as Connect writes it; details are in base64. */
interface WireError {
  readonly code: string;
  readonly message?: string;
  readonly details?: readonly { readonly type: string; readonly value: string }[];
}

const known: ReadonlyMap<string, DescMessage> = new Map(
  [ErrorInfoSchema, RequestInfoSchema, BadRequestSchema, RetryInfoSchema].map((schema) => [
    schema.typeName,
    schema,
  ]),
);

export function readAnswer(
  { methodKind, output }: DescMethod,
  status: number,
  headers: IncomingHttpHeaders,
  body: Buffer,
): Answer {
  const { messages, wireError } =
    status !== 200 ? readRefusal(body) : methodKind === "unary" ? { messages: [body] } : readStream(body);
  const error = wireError && readError(wireError);
  const details = (wireError?.details ?? []).map(({ value }) =>
    Buffer.from(value, "base64").toString("latin1"),
  );
  return {
    outcome: error === undefined ? "ok" : `${error.code} ${reasonOf(error)}`,
    headers,
    error,
    // A message's JSON is an object, but for well-known types, which no method of ours answers with.
    messages: messages.map((bytes) => toJson(output, fromBinary(output, bytes)) as JsonObject),
    raw: [JSON.stringify(headers), body.toString("latin1"), ...details].join("\n"),
  };
}

interface Read {
  readonly messages: readonly Buffer[];
  readonly wireError?: WireError | undefined;
}

function readRefusal(body: Buffer): Read {
  return { messages: [], wireError: JSON.parse(body.toString("utf8")) as WireError };
}

/** Envelopes: a byte of flags, of which 2 marks the end, four of length, the content. */
function readStream(body: Buffer): Read {
  const messages: Buffer[] = [];
  let wireError: WireError | undefined;
  for (let at = 0; at < body.length;) {
    const next = at + 5 + body.readUInt32BE(at + 1);
    const content = body.subarray(at + 5, next);
    if ((body.readUInt8(at) & 2) === 0) messages.push(content);
    else wireError = (JSON.parse(content.toString("utf8")) as { error?: WireError }).error;
    at = next;
  }
  return { messages, wireError };
}

function readError({ code, message = "", details = [] }: WireError): AnsweredError {
  const read = (type: string, value: string): JsonValue => {
    const schema = known.get(type);
    return schema ? toJson(schema, fromBinary(schema, Buffer.from(value, "base64"))) : value;
  };
  return { code, message, details: details.map(({ type, value }) => ({ type, said: read(type, value) })) };
}

function reasonOf({ details }: AnsweredError): string {
  const info = details.find(({ type }) => type === ErrorInfoSchema.typeName);
  return (info?.said as { reason?: string } | undefined)?.reason ?? "(no reason)"; // ErrorInfo in JSON.
}
