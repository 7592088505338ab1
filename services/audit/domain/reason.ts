/** Why one event of a batch is refused for good. Stable: sources branch on these. */
export type Rejection =
  | "INVALID_EVENT"
  | "SOURCE_NOT_ALLOWED"
  | "EVENT_ID_REUSED"
  | "SEQUENCE_REUSED"
  | "CHAIN_BROKEN";

/** Every reason with which this service refuses a call. */
export type Reason =
  | "EVENT_NOT_FOUND"
  | "CHECKPOINT_NOT_FOUND"
  | "UNAUTHENTICATED"
  | "FORBIDDEN"
  | "INVALID_REQUEST"
  | "PAGE_TOKEN_INVALID"
  | "RESUME_TOKEN_EXPIRED"
  | "RATE_LIMITED"
  | "TOO_LARGE"
  | "OUTCOME_UNKNOWN"
  | "OVERLOADED"
  | "METHOD_DISABLED"
  | "DEPENDENCY_DOWN";
