import { Code } from "@connectrpc/connect";
import type { Reason } from "../domain/reason.ts";

/** `Record<Reason, …>`: a new reason without a code does not compile. */
export const codeByReason: Record<Reason, Code> = {
  CASE_NOT_FOUND: Code.NotFound,
  EVENT_NOT_FOUND: Code.NotFound,
  INVALID_TRANSITION: Code.FailedPrecondition,
  REVIEWER_REQUIRED: Code.FailedPrecondition,
  REASON_REQUIRED: Code.FailedPrecondition,
  SELF_APPROVAL: Code.FailedPrecondition,
  ALREADY_APPROVED: Code.FailedPrecondition,
  NOT_INDEPENDENT: Code.FailedPrecondition,
  APPEAL_WINDOW_CLOSED: Code.FailedPrecondition,
  CASE_ON_HOLD: Code.FailedPrecondition,
  HISTORY_FORKED: Code.FailedPrecondition,
  UNAUTHENTICATED: Code.Unauthenticated,
  FORBIDDEN: Code.PermissionDenied,
  INVALID_REQUEST: Code.InvalidArgument,
  REQUEST_ID_REUSED: Code.InvalidArgument,
  PAGE_TOKEN_INVALID: Code.InvalidArgument,
  RESUME_TOKEN_EXPIRED: Code.OutOfRange,
  RATE_LIMITED: Code.ResourceExhausted,
  REQUEST_ALREADY_APPLIED: Code.AlreadyExists,
  VERSION_MISMATCH: Code.Aborted,
  TOO_LARGE: Code.ResourceExhausted,
  OUTCOME_UNKNOWN: Code.Unavailable,
  OVERLOADED: Code.Unavailable,
  METHOD_DISABLED: Code.Unavailable,
  DEPENDENCY_DOWN: Code.Unavailable,
};
