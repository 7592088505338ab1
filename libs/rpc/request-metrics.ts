import type { DescService } from "@bufbuild/protobuf";
import { metrics } from "@opentelemetry/api";
import { createDurations } from "#libs/telemetry/durations.ts";
import type { AuthFailure } from "./authenticate.ts";
import type { RequestLogLine } from "./request-log.ts";

export interface RequestMetrics {
  /** A call has ended. Calls of methods that there are not are none. */
  readonly call: (line: RequestLogLine) => void;
  readonly authFailure: (why: AuthFailure) => void;
}

/**
 * Measures calls that are served: by method, code and reason, of which the schema has so many. `failures` of unary methods of
 * `services` are there from the start, so that a first one shows as a rise.
 */
export function createRequestMetrics(
  services: readonly DescService[],
  failures: readonly { readonly code: string; readonly reason: string }[],
): RequestMetrics {
  const meter = metrics.getMeter("rpc");
  const requests = meter.createCounter("rpc.server.requests", {
    description: "Calls that have ended, by method, status code and reason",
  });
  for (const { name, parent, methodKind } of services.flatMap(({ methods }) => methods)) {
    const method = `${parent.typeName}/${name}`;
    if (methodKind === "unary") for (const failure of failures) requests.add(0, { method, ...failure });
  }
  const authFailures = meter.createCounter("auth.failures", {
    description: "Calls refused because of who makes them, by why",
  });
  const recordDuration = createDurations(
    "rpc",
    "rpc.server.duration",
    "How long calls took, from their headers to the end of the answer; of streams all of it",
  );
  return {
    call({ method, code, reason = "", durationMs }) {
      requests.add(1, { method, code, reason });
      recordDuration(durationMs, { method });
    },
    authFailure: (why) => authFailures.add(1, { why }),
  };
}
