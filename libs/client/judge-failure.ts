import type { DescMethod } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel, durationMs } from "@bufbuild/protobuf/wkt";
import { Code, type ConnectError } from "@connectrpc/connect";
import { ErrorInfoSchema, RetryInfoSchema } from "#libs/gen/google/rpc/error_details_pb.ts";
import type { RetryVerdict } from "#libs/resilience/retry.ts";
import { connectionLossOf } from "#libs/rpc/connection-loss.ts";

const final: RetryVerdict = { again: false };

/** Whether the schema says that the method may be called twice. */
export function isRepeatable({ idempotency }: DescMethod): boolean {
  return idempotency !== MethodOptions_IdempotencyLevel.IDEMPOTENCY_UNKNOWN;
}

/**
 * Whether an attempt may be tried again, from the method's `idempotency_level` and what came back:
 *
 *   nothing reached the service (connection refused, stream refused)    always
 *   UNAVAILABLE, or an attempt that hung                                if the method is marked
 *   RESOURCE_EXHAUSTED                                                  if marked, and RetryInfo says when
 *   anything else                                                       never
 *
 * A method that an operator has switched off counts as unavailable only with RetryInfo. `grpc-retry-pushback-ms` decides
 * over all of it: a number says when, a negative one or anything else says never (gRPC proposal A6).
 */
export function judgeFailure(method: DescMethod, error: ConnectError, hung: boolean): RetryVerdict {
  const isUnsent = connectionLossOf(error) === "unsent";
  if (!isUnsent && !isRepeatable(method)) return final;
  const retryInfoMs = retryInfoOf(error);
  const waits = retryInfoMs !== undefined;
  const mayHelp =
    isUnsent ||
    hung ||
    (error.code === Code.Unavailable && (waits || !isSwitchedOff(error))) ||
    (error.code === Code.ResourceExhausted && error.isWireError && waits);
  if (!mayHelp) return final;
  const pushback = error.metadata.get("grpc-retry-pushback-ms");
  if (pushback !== null) {
    return /^\d{1,9}$/.test(pushback) ? { again: true, exactlyMs: Number(pushback) } : final;
  }
  return waits ? { again: true, atLeastMs: retryInfoMs } : { again: true };
}

/**
 * Whether a failure says something of the service's or the network's health. A refusal, however it is coded, is a healthy
 * answer; so is INTERNAL, which says that one request met a bug.
 */
export function isInfrastructureFailure(error: ConnectError): boolean {
  if (error.code === Code.DeadlineExceeded) return true;
  return error.code === Code.Unavailable && !isSwitchedOff(error);
}

function isSwitchedOff(error: ConnectError): boolean {
  return error.findDetails(ErrorInfoSchema).some(({ reason }) => reason === "METHOD_DISABLED");
}

function retryInfoOf(error: ConnectError): number | undefined {
  const [info] = error.findDetails(RetryInfoSchema);
  return info?.retryDelay === undefined ? undefined : Math.max(0, durationMs(info.retryDelay));
}
