export interface ConnectionLimits {
  /** Connections at a time; more are closed at once. */
  readonly connectionsMax: number;
  /** From connecting to the first bytes. */
  readonly firstBytesMs: number;
  /** From there to complete headers, or to the settings of an HTTP/2 session. */
  readonly headersMs: number;
  /** To a complete request, where it is one message. */
  readonly requestMs: number;
  /** An answer of which its caller takes nothing for this time is given up. */
  readonly unreadMs: number;
  /** A connection without a call is closed after this time. Clients should close theirs earlier. */
  readonly idleMs: number;
  readonly headerBytesMax: number;
  readonly headersMax: number;
  /** Calls at a time on one connection. HTTP/2 lets more wait; of HTTP/1.1, where they were not asked for, it is the end. */
  readonly callsMax: number;
}

export const defaultLimits: ConnectionLimits = {
  connectionsMax: 1_024,
  firstBytesMs: 10_000,
  headersMs: 10_000,
  requestMs: 60_000,
  unreadMs: 60_000,
  idleMs: 300_000,
  headerBytesMax: 16_384,
  headersMax: 100,
  callsMax: 128,
};
