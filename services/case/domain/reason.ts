/** Why the rules refuse a command. Stable: clients branch on these. */
export type Refusal =
  | "VERSION_MISMATCH"
  | "INVALID_TRANSITION"
  | "REVIEWER_REQUIRED"
  | "REASON_REQUIRED"
  | "SELF_APPROVAL"
  | "ALREADY_APPROVED"
  | "NOT_INDEPENDENT"
  | "APPEAL_WINDOW_CLOSED"
  | "CASE_ON_HOLD"
  | "HISTORY_FORKED"
  | "FORBIDDEN"
  | "INVALID_REQUEST";

/** Every reason with which this service refuses a call. */
export type Reason =
  | Refusal
  | "CASE_NOT_FOUND"
  | "EVENT_NOT_FOUND"
  | "UNAUTHENTICATED"
  | "REQUEST_ID_REUSED"
  | "REQUEST_ALREADY_APPLIED"
  | "PAGE_TOKEN_INVALID"
  | "RESUME_TOKEN_EXPIRED"
  | "RATE_LIMITED"
  | "TOO_LARGE"
  | "OUTCOME_UNKNOWN"
  | "OVERLOADED"
  | "METHOD_DISABLED"
  | "DEPENDENCY_DOWN";
