/** One field of the request that is wrong. */
export interface FaultField {
  /** Path of the field from the request message on, as `content.people[2].name`. */
  readonly field: string;
  readonly description: string;
  /** UPPER_SNAKE, for programs. */
  readonly reason?: string;
}

export interface FaultOptions {
  /** For people; the reason when left out. It goes to the caller: nothing secret. */
  readonly message?: string;
  readonly fields?: readonly FaultField[];
  /** Waiting this long may help; absent: nothing is said about waiting. */
  readonly retryAfterMs?: number;
  /** For the logs; never goes to the caller. */
  readonly cause?: unknown;
}

/**
 * Thrown for the caller to act on. `reason` is stable and UPPER_SNAKE: callers branch on it, never on the message.
 * What is thrown and is no Fault is a bug or an outage.
 */
export class Fault<R extends string = string> extends Error {
  override readonly name = "Fault";
  readonly reason: R;
  readonly metadata: Readonly<Record<string, string>>;
  readonly fields: readonly FaultField[] | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(reason: R, metadata: Readonly<Record<string, string>> = {}, options: FaultOptions = {}) {
    super(options.message ?? reason, options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = reason;
    this.metadata = metadata;
    this.fields = options.fields;
    this.retryAfterMs = options.retryAfterMs;
  }
}
