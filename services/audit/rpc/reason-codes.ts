import { Code } from "@connectrpc/connect";
import type { Reason } from "../domain/reason.ts";

/** `Record<Reason, …>`: a new reason without a code does not compile. */
export const codeByReason: Record<Reason, Code> = {
  EVENT_NOT_FOUND: Code.NotFound,
  CHECKPOINT_NOT_FOUND: Code.NotFound,
  UNAUTHENTICATED: Code.Unauthenticated,
  FORBIDDEN: Code.PermissionDenied,
  INVALID_REQUEST: Code.InvalidArgument,
  PAGE_TOKEN_INVALID: Code.InvalidArgument,
  RESUME_TOKEN_EXPIRED: Code.OutOfRange,
  RATE_LIMITED: Code.ResourceExhausted,
  TOO_LARGE: Code.ResourceExhausted,
  OUTCOME_UNKNOWN: Code.Unavailable,
  OVERLOADED: Code.Unavailable,
  METHOD_DISABLED: Code.Unavailable,
  DEPENDENCY_DOWN: Code.Unavailable,
};
