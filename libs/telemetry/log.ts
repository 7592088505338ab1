import { isSpanContextValid, trace } from "@opentelemetry/api";
import {
  type DestinationStream,
  destination as openDestination,
  type Logger,
  pino,
  stdTimeFunctions,
} from "pino";
import { describeError } from "./describe-error.ts";

export type Log = Logger;

export interface LogOptions {
  readonly service: string;
  readonly version: string;
  readonly commit: string;
  readonly level: "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";
  /** Takes whole lines. Absent: standard output, written in the background and flushed when the process exits. */
  readonly destination?: DestinationStream;
}

const stdout = 1;

/**
 * What never shows, wherever it stands in a line: the value of a property with a telling name, at any depth;
 * `user:password@` of a URL; a bearer token; a JWT; a private key. One pass over the finished line costs a third of pino's `redact`,
 * which looks at known depths only and not into messages and stack traces.
 */
const secrets =
  /("(?:[Aa]uthorization|[Cc]ookie|password|secret|token)":)(?:"(?:[^"\\]|\\.)*"|\[(?:"(?:[^"\\]|\\.)*",?)*\])|(?<=:\/\/)[^/\s"@:]*:[^/\s"]*(?=@)|(?<=\bBearer )[\w.~+/=-]+|\beyJ[\w-]+\.eyJ[\w-]+\.[\w-]*|-----BEGIN [A-Z ]*PRIVATE KEY-----[^"]*/g;

/**
 * Makes the process's log: a JSON object a line, with `time` (ISO 8601), `level` (its name), `service`, `version`,
 * `commit`, `msg`, and `trace_id` and `span_id` inside a span. Secrets are hidden by property name and by shape; of errors, given as
 * `err`, stands only what `describeError` tells.
 *
 * A process that ends, exits or crashes has written every line; one killed by a signal may lose the last.
 */
export function createLog({ service, version, commit, level, destination }: LogOptions): Log {
  return pino(
    {
      level,
      base: { service, version, commit },
      serializers: { err: (error: unknown) => describeError(error) },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      mixin: activeSpanIds,
      hooks: {
        streamWrite: (line) => line.replace(secrets, hide),
        logMethod(args, method) {
          method.apply(this, withWords(args));
        },
      },
    },
    destination ?? openDestination({ dest: stdout, sync: false }),
  );
}

function activeSpanIds(): object {
  const active = trace.getActiveSpan()?.spanContext();
  return active && isSpanContextValid(active) ? { trace_id: active.traceId, span_id: active.spanId } : {};
}

/** Of an error without words beside it, pino would tell the message as it is. */
function withWords<T extends unknown[]>(args: T): T {
  if (args.length !== 1 || typeof args[0] !== "object" || args[0] === null) return args;
  const error = args[0] instanceof Error ? args[0] : Reflect.get(args[0], "err");
  if (error instanceof Error) args.push(describeError(error).message);
  return args;
}

function hide(_found: string, property: string | undefined): string {
  return property === undefined ? "[redacted]" : `${property}"[redacted]"`;
}
