/** What the service reads of an event: enough to judge, index and trace it. The bytes stay the record. */
export interface Event {
  /** UUID, lower case. */
  readonly eventId: string;
  readonly source: string;
  readonly type: string;
  readonly tenantId: string;
  readonly subject: string;
  /** From 1. */
  readonly sequence: bigint;
  /** Lower-case hex; empty at sequence 1. */
  readonly previousDigest: string;
  /** Of a tombstone, the digest of the event it stands in for, in lower-case hex; empty on every other event. */
  readonly originalDigest: string;
  readonly actorId: string;
  /** Empty when the actor acted for nobody else. */
  readonly onBehalfOf: string;
  /** UUID; empty where no request caused the event. */
  readonly requestId: string;
  /** Empty where there is none. */
  readonly correlationId: string;
  /** W3C Trace Context as the source wrote it, unchecked; empty when the change was not traced. */
  readonly traceparent: string;
  /** Microseconds since 1970-01-01 UTC, rounded down. */
  readonly occurredAtMicros: bigint;
  /** Microseconds since 1970-01-01 UTC, rounded down. */
  readonly recordedAtMicros: bigint;
}

/** Bytes that are no event, or one that breaks a rule of its schema. */
export interface InvalidEvent {
  /** Empty when it could not be read. */
  readonly eventId: string;
  /** Which rule, for the log: names fields, never tells what they hold. */
  readonly fault: string;
}

/** An event of the log, as it is stored. */
export interface StoredEvent {
  readonly leafIndex: bigint;
  readonly bytes: Uint8Array;
  /** SHA-256 of `bytes`. */
  readonly digest: Uint8Array;
  /** Microseconds since 1970-01-01 UTC. */
  readonly receivedAtMicros: bigint;
  /** When the first signed checkpoint that covers it was made. Microseconds since 1970-01-01 UTC; `undefined` before that. */
  readonly sealedAtMicros: bigint | undefined;
}

/** Which events are meant. What is given must all hold. */
export interface EventFilter {
  readonly source?: string;
  readonly type?: string;
  readonly subject?: string;
  readonly actorId?: string;
  readonly onBehalfOf?: string;
  /** UUID. */
  readonly requestId?: string;
  readonly correlationId?: string;
  /** Inclusive. Microseconds since 1970-01-01 UTC, rounded down, as events' own times are: adjoining ranges neither overlap nor miss one. */
  readonly occurredFromMicros?: bigint;
  /** Exclusive. As `occurredFromMicros`. */
  readonly occurredBeforeMicros?: bigint;
  /** When the source recorded it. As `occurredFromMicros`. */
  readonly recordedFromMicros?: bigint;
  readonly recordedBeforeMicros?: bigint;
  /** When it was stored here. As `occurredFromMicros`. */
  readonly receivedFromMicros?: bigint;
  readonly receivedBeforeMicros?: bigint;
}
