import { hideValues } from "./hide-values.ts";

/** What a log tells of an error: where and of which kind it is, and nothing of what was being worked on. */
export interface DescribedError {
  readonly type: string;
  readonly message: string;
  /** Calls alone: the first lines of a stack repeat the message as it was. */
  readonly stack?: string;
  readonly cause?: DescribedError;
  /** Of several errors in one, the first ones. */
  readonly errors?: readonly DescribedError[];
  /** Such as `code`, or the names of PostgreSQL's table and constraint. */
  readonly [fact: string]: unknown;
}

const messageCharsMax = 1_000;
const framesMax = 20;
const depthMax = 5;
const errorsMax = 4;

/** Everything else that an error carries may hold what somebody wrote: rows in `detail`, parameters in `where`, a whole URL in `input`. */
const facts = [
  ...["code", "reason", "why", "kind"],
  ...["severity", "schema", "table", "column", "constraint", "dataType", "routine"],
];
const factPattern = /^[\w.:-]{1,128}$/;

/** SQLSTATE, which always has a digit, but for data exceptions (class 22). */
const namingState = /^(?!22)(?=.*\d)[0-9A-Z]{5}$/;

/**
 * Describes an error for a log. Engine and libraries quote values that they object to: those are hidden. PostgreSQL quotes names
 * that way, and values only in data exceptions. A syntax error, as of JSON, is all value.
 */
export function describeError(error: unknown, depth = 1): DescribedError {
  if (!(error instanceof Error)) return { type: typeof error, message: "not an error" };
  const { stack, cause } = error;
  const described: Record<string, unknown> = {};
  for (const name of facts) {
    const value: unknown = Reflect.get(error, name);
    if (typeof value === "number" || (typeof value === "string" && factPattern.test(value)))
      described[name] = value;
  }
  const isDeep = depth >= depthMax;
  const several = error instanceof AggregateError && !isDeep ? error.errors.slice(0, errorsMax) : [];
  return {
    type: factPattern.test(error.name) ? error.name : "Error",
    message: wordsOf(error),
    ...described,
    ...(typeof stack === "string" && { stack: callsOf(stack, error.message) }),
    ...(cause instanceof Error && !isDeep && { cause: describeError(cause, depth + 1) }),
    ...(several.length > 0 && { errors: several.map((one) => describeError(one, depth + 1)) }),
  };
}

function wordsOf(error: Error): string {
  if (error instanceof SyntaxError) return "[redacted]";
  const words = error.message.slice(0, messageCharsMax);
  const namesOnly = "code" in error && typeof error.code === "string" && namingState.test(error.code);
  return namesOnly ? words : hideValues(words);
}

function callsOf(stack: string, message: string): string {
  const at = stack.indexOf(message);
  const behind = at === -1 ? stack : stack.slice(at + message.length);
  const calls = behind.split("\n").filter((line) => /^\s+at /.test(line));
  return calls
    .slice(0, framesMax)
    .map((line) => line.trim())
    .join("\n");
}
