import { builtInPolicy, type Case, type CaseState, type Content } from "./case.ts";
import type { Refusal } from "./reason.ts";
import { isAllowed } from "./transitions.ts";

export type ContentField = keyof Content;

/** What a caller wants done, one member an action. */
export type Command =
  | {
      readonly action: "create";
      readonly caseType: string;
      readonly externalReference: string;
      readonly content: Content;
    }
  | { readonly action: "update"; readonly content: Content; readonly fields: readonly ContentField[] }
  | { readonly action: "submit" }
  | { readonly action: "assign_reviewer"; readonly reviewerId: string }
  | { readonly action: "start_review" }
  | { readonly action: "approve"; readonly reason: string }
  | { readonly action: "reject"; readonly reason: string }
  | { readonly action: "close"; readonly reason: string };

export interface Accepted {
  readonly accepted: true;
  readonly next: Case;
  /** Past tense of what happened: `caseflow.case.<happened>` is the event's type. */
  readonly happened: string;
  /** Why, in the actor's words; empty where none was given. */
  readonly reason: string;
  /** The principal it is about; empty where there is none. */
  readonly assigneeId: string;
  /** True when the action decides, or helps to decide, the review at hand. */
  readonly decides: boolean;
}

export interface Refused {
  readonly accepted: false;
  readonly reason: Refusal;
  readonly metadata: Readonly<Record<string, string>>;
}

export type Decision = Accepted | Refused;

/** What a decision depends on besides case and command; given, so that the same inputs decide the same way. */
export interface Circumstances {
  readonly principalId: string;
  readonly at: Date;
  /** Id of the case, should one be created. */
  readonly newCaseId: string;
  /** Commits to a new version of the content, with a salt of its own. */
  readonly commitTo: (content: Content) => Uint8Array;
}

/**
 * Decides whether `command` may happen to `current` (`undefined`: there is no case yet). Pure.
 *
 * Staleness is judged before state, so that a caller holding an old version is told to read again rather than told
 * about a state it has never seen; state before person and content.
 */
export function decide(
  current: Case | undefined,
  command: Command,
  expectedVersion: number | undefined,
  by: Circumstances,
): Decision {
  if (current === undefined) {
    return command.action === "create" ? create(command, by) : invalidTransition("none", command.action);
  }
  if (expectedVersion !== undefined && expectedVersion !== current.version) {
    return refuse("VERSION_MISMATCH", { current_version: String(current.version) });
  }
  if (!isAllowed(current.state, command.action)) return invalidTransition(current.state, command.action);
  switch (command.action) {
    case "create":
      return invalidTransition(current.state, "create");
    case "update":
      return update(current, command, by);
    case "submit":
      return submit(current, by);
    case "assign_reviewer":
      return assignReviewer(current, command.reviewerId, by);
    case "start_review":
      return startReview(current, by);
    case "approve":
      return approve(current, command.reason, by);
    case "reject":
      return reject(current, command.reason, by);
    case "close":
      return accept(current, by, { happened: "closed", to: "closed", reason: command.reason });
    default:
      return command satisfies never;
  }
}

function create(command: Extract<Command, { action: "create" }>, by: Circumstances): Decision {
  const created: Case = {
    id: by.newCaseId,
    type: command.caseType,
    externalReference: command.externalReference,
    state: "draft",
    version: 1,
    content: command.content,
    contentVersion: 1,
    contentCommitment: by.commitTo(command.content),
    creatorId: by.principalId,
    submitterId: undefined,
    assignedReviewerId: undefined,
    reviewStartedById: undefined,
    reviewVersion: undefined,
    reviewRound: 0,
    approverIds: [],
    rejecterId: undefined,
    policyVersion: builtInPolicy.version,
    approvalsRequired: builtInPolicy.approvalsRequired,
    createdAt: by.at,
    updatedAt: by.at,
    decidedAt: undefined,
  };
  return { accepted: true, next: created, happened: "created", reason: "", assigneeId: "", decides: false };
}

function update(current: Case, command: Extract<Command, { action: "update" }>, by: Circumstances): Decision {
  if (by.principalId !== current.creatorId) {
    return refuse("FORBIDDEN", { why: "only the creator of a draft may change it" });
  }
  const given = command.content;
  const content: Content = {
    title: command.fields.includes("title") ? given.title : current.content.title,
    summary: command.fields.includes("summary") ? given.summary : current.content.summary,
    people: command.fields.includes("people") ? given.people : current.content.people,
  };
  return accept(current, by, {
    happened: "updated",
    to: "draft",
    change: {
      content,
      contentVersion: current.contentVersion + 1,
      contentCommitment: by.commitTo(content),
    },
  });
}

function submit(current: Case, by: Circumstances): Decision {
  const missing = [
    current.content.title.trim() === "" ? "title" : "",
    current.content.summary.trim() === "" ? "summary" : "",
    current.content.people.length === 0 ? "people" : "",
  ].filter((field) => field !== "");
  if (missing.length > 0) return refuse("INVALID_REQUEST", { missing: missing.join(",") });
  return accept(current, by, {
    happened: "submitted",
    to: "submitted",
    change: { submitterId: by.principalId },
  });
}

/** Whether the person really is a reviewer is judged when they act, by their token. */
function assignReviewer(current: Case, reviewerId: string, by: Circumstances): Decision {
  if (reviewerId === current.submitterId) return refuse("NOT_INDEPENDENT", { role: "submitter" });
  return accept(current, by, {
    happened: "reviewer_assigned",
    to: "submitted",
    assigneeId: reviewerId,
    change: { assignedReviewerId: reviewerId },
  });
}

function startReview(current: Case, by: Circumstances): Decision {
  if (by.principalId !== current.assignedReviewerId) return refuse("REVIEWER_REQUIRED");
  return accept(current, by, {
    happened: "review_started",
    to: "under_review",
    change: {
      reviewStartedById: by.principalId,
      reviewVersion: current.version + 1,
      reviewRound: current.reviewRound + 1,
    },
  });
}

/**
 * One approval a person. With two required, the last may not come from whoever started the review: no one person
 * then both leads a review and completes it.
 */
function approve(current: Case, reason: string, by: Circumstances): Decision {
  if (by.principalId === current.submitterId) return refuse("SELF_APPROVAL");
  if (current.approverIds.includes(by.principalId)) return refuse("ALREADY_APPROVED");
  const approverIds = [...current.approverIds, by.principalId];
  const decided = approverIds.length >= current.approvalsRequired;
  if (decided && current.approvalsRequired > 1 && by.principalId === current.reviewStartedById) {
    return refuse("NOT_INDEPENDENT", { role: "review_starter" });
  }
  return accept(current, by, {
    happened: decided ? "approved" : "approval_recorded",
    to: decided ? "approved" : "under_review",
    reason,
    decides: true,
    change: decided ? { approverIds, decidedAt: by.at } : { approverIds },
  });
}

function reject(current: Case, reason: string, by: Circumstances): Decision {
  if (by.principalId === current.submitterId) return refuse("SELF_APPROVAL");
  if (reason.trim() === "") return refuse("REASON_REQUIRED");
  return accept(current, by, {
    happened: "rejected",
    to: "rejected",
    reason,
    decides: true,
    change: { rejecterId: by.principalId, decidedAt: by.at },
  });
}

function accept(
  current: Case,
  by: Circumstances,
  outcome: {
    readonly happened: string;
    readonly to: CaseState;
    readonly reason?: string;
    readonly assigneeId?: string;
    readonly decides?: boolean;
    readonly change?: Partial<Case>;
  },
): Accepted {
  return {
    accepted: true,
    next: {
      ...current,
      ...outcome.change,
      state: outcome.to,
      version: current.version + 1,
      updatedAt: by.at,
    },
    happened: outcome.happened,
    reason: outcome.reason ?? "",
    assigneeId: outcome.assigneeId ?? "",
    decides: outcome.decides ?? false,
  };
}

function invalidTransition(state: CaseState | "none", action: string): Refused {
  return refuse("INVALID_TRANSITION", { state, action });
}

function refuse(reason: Refusal, metadata: Readonly<Record<string, string>> = {}): Refused {
  return { accepted: false, reason, metadata };
}
