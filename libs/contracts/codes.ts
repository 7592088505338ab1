import { Code } from "@connectrpc/connect";

import type { RefusalCode } from "./contract.ts";

const codes: Record<RefusalCode, Code> = {
  CANCELLED: Code.Canceled,
  UNKNOWN: Code.Unknown,
  INVALID_ARGUMENT: Code.InvalidArgument,
  DEADLINE_EXCEEDED: Code.DeadlineExceeded,
  NOT_FOUND: Code.NotFound,
  ALREADY_EXISTS: Code.AlreadyExists,
  PERMISSION_DENIED: Code.PermissionDenied,
  RESOURCE_EXHAUSTED: Code.ResourceExhausted,
  FAILED_PRECONDITION: Code.FailedPrecondition,
  ABORTED: Code.Aborted,
  OUT_OF_RANGE: Code.OutOfRange,
  UNIMPLEMENTED: Code.Unimplemented,
  INTERNAL: Code.Internal,
  UNAVAILABLE: Code.Unavailable,
  DATA_LOSS: Code.DataLoss,
  UNAUTHENTICATED: Code.Unauthenticated,
};

export function toCode(name: RefusalCode): Code {
  return codes[name];
}

/** The name of a gRPC status code; `OK` for 0. */
export function nameOfCode(code: number): string {
  if (code === 0) return "OK";
  const names = new Map<number, string>(Object.entries(codes).map(([name, value]) => [value, name]));
  return names.get(code) ?? `code ${code}`;
}
