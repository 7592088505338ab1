/**
 * The format of `<consumer>/<provider>.json`, which `contract.schema.json` tells in JSON Schema for other languages.
 *
 * A contract says what one consumer relies on in one provider, and nothing else: calls it makes and what it reads of the
 * answers, events it takes in, and its view of the schema with just the services, methods, fields and values of these.
 *
 * Messages are in proto3 JSON with lowerCamelCase names. At any place a value may be a matcher: an object with `$match`.
 * What is not named is not relied on in an answer, and must not be there in a request.
 */
export interface Contract {
  readonly $schema: string;
  readonly formatVersion: 1;
  readonly consumer: string;
  readonly provider: string;
  readonly interactions: readonly Interaction[];
  readonly events: readonly EventExpectation[];
  /** The consumer's view of the schema: a `google.protobuf.FileDescriptorSet` in proto3 JSON. */
  readonly view: Json;
}

export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };

/** What the provider is brought into before it is called. It gives back named values, for the matcher `given`. */
export interface ProviderState {
  readonly name: string;
  readonly parameters?: { readonly [name: string]: Json };
}

export interface Interaction {
  /** A sentence; unique in its contract. */
  readonly name: string;
  readonly state: ProviderState;
  readonly call: Call;
  readonly answer: Answer;
}

/** One request; the answer is one message, or a stream of them. */
export interface Call {
  /** `package.Service/Method`. */
  readonly method: string;
  /** Who the bearer token speaks for. Absent: the consumer sends no token. */
  readonly caller?: Caller;
  /** How long the consumer gives the call, at most. Absent: it sets no deadline. */
  readonly deadlineMs?: number;
  /** Further headers that the consumer sends; names in lower case. */
  readonly metadata?: Metadata;
  readonly request: ExpectedMessage;
}

export interface Caller {
  readonly subject: string;
  readonly kind: "person" | "service";
  readonly roles: readonly string[];
  /** Event sources it may deliver for. */
  readonly sources?: readonly string[];
}

export type Answer = UnaryAnswer | StreamAnswer | RefusalAnswer;

/** One message. */
export interface UnaryAnswer {
  readonly code: "OK";
  readonly metadata?: Metadata;
  /** The fields that the consumer reads. */
  readonly message: ExpectedMessage;
}

/** The first messages of a stream, in order. */
export interface StreamAnswer {
  readonly code: "OK";
  readonly metadata?: Metadata;
  readonly messages: readonly ExpectedMessage[];
  /** `open`: the consumer reads no further and hangs up. `closed`: the provider ends the stream. */
  readonly end: "open" | "closed";
}

/** A refusal, in the terms of `google.rpc.Status`. */
export interface RefusalAnswer {
  readonly code: RefusalCode;
  readonly metadata?: Metadata;
  /** `google.rpc.ErrorInfo`'s; absent when the consumer goes by the code alone. */
  readonly domain?: string;
  readonly reason?: string;
  /** Fields that the consumer reads of error details, by the details' type, such as `google.rpc.RetryInfo`. */
  readonly details?: { readonly [typeName: string]: ExpectedMessage };
}

export type RefusalCode =
  | "CANCELLED"
  | "UNKNOWN"
  | "INVALID_ARGUMENT"
  | "DEADLINE_EXCEEDED"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "PERMISSION_DENIED"
  | "RESOURCE_EXHAUSTED"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "OUT_OF_RANGE"
  | "UNIMPLEMENTED"
  | "INTERNAL"
  | "UNAVAILABLE"
  | "DATA_LOSS"
  | "UNAUTHENTICATED";

/** What the consumer reads of an event that the provider emits. */
export interface EventExpectation {
  /** A sentence; unique in its contract. */
  readonly name: string;
  readonly state: ProviderState;
  /** Type of the encoded message. */
  readonly message: string;
  /** Which of the events that the state brought about is meant; at least one must fit. */
  readonly which: ExpectedMessage;
  /** The fields that the consumer reads, beyond those of `which`. */
  readonly fields: ExpectedMessage;
}

export type Metadata = { readonly [name: string]: string | Matcher };
export type ExpectedMessage = { readonly [field: string]: Expected };
export type Expected = Matcher | string | number | boolean | readonly Expected[] | ExpectedMessage;

/**
 * Stands in the place of a value. `example` is what a stand-in answers with, and what is sent when a request is replayed; there,
 * `given` sends the state's value instead and `uuid` a fresh one.
 *
 * Presence is the schema's: a field without presence of its own (proto3 without `optional`) is present when it is not zero.
 */
export type Matcher =
  /** The value that the provider state gave under this name. */
  | { readonly $match: "given"; readonly name: string; readonly example: Example }
  | { readonly $match: "uuid"; readonly example: string }
  /** A text that fits a regular expression (ECMA-262, `u`). */
  | { readonly $match: "pattern"; readonly pattern: string; readonly example: string }
  | {
      readonly $match: "oneOf";
      readonly values: readonly (string | number)[];
      readonly example: string | number;
    }
  /** A number of at least so much; 64-bit ones are strings in the example. */
  | { readonly $match: "atLeast"; readonly least: number; readonly example: string | number }
  /** So many bytes. */
  | { readonly $match: "bytes"; readonly length: number; readonly example: string }
  /** Any value, but one. */
  | { readonly $match: "present"; readonly example: Example }
  /** Any value or none: the consumer copes with both. */
  | { readonly $match: "any"; readonly example: Example }
  | { readonly $match: "absent" }
  /** A list in which each element fits; of at least so many. */
  | { readonly $match: "each"; readonly of: Expected; readonly atLeast: number };

export type Example = string | number | boolean | readonly Example[] | { readonly [field: string]: Example };
