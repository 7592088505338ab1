import type { DescMethod, Message } from "@bufbuild/protobuf";

export interface ReplayRequest {
  readonly url: string;
  readonly method: DescMethod;
  readonly request: Message;
  /** In lower case; the token among them. */
  readonly metadata: readonly (readonly [name: string, value: string])[];
  /** Sent with the call; absent: none is, and the call is given up after `patienceMs`. */
  readonly deadlineMs: number | undefined;
  /** Of a stream, read so many messages and hang up; absent: read to its end. */
  readonly messagesMax: number | undefined;
}

/** What came of a call. */
export interface Replayed {
  /** Name of the gRPC status; `OK` as well where the replay hung up. */
  readonly code: string;
  readonly messages: readonly Message[];
  /** Headers and trailers. */
  readonly metadata: Headers;
  readonly details: readonly ErrorDetail[];
}

export interface ErrorDetail {
  readonly typeName: string;
  readonly value: Uint8Array;
}

/** Sends a call by one gRPC implementation. Throws when there is no answer in time. */
export type Replay = (request: ReplayRequest) => Promise<Replayed>;

/** How long a call without a deadline may take. */
export const patienceMs = 15_000;
