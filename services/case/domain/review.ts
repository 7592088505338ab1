import type { Case } from "./case.ts";
import type { Circumstances } from "./command.ts";
import { accept, isBlank, occurredAtOf, refuse, type Decision } from "./decision.ts";

/** Whether the person really is a reviewer is judged when they act, by their token. */
export function assignReviewer(current: Case, reviewerId: string, by: Circumstances): Decision {
  if (reviewerId === current.submitterId) return refuse("NOT_INDEPENDENT", { role: "submitter" });
  return accept(current, by, {
    happened: "reviewer_assigned",
    to: "submitted",
    assigneeId: reviewerId,
    change: { assignedReviewerId: reviewerId },
  });
}

export function startReview(current: Case, by: Circumstances): Decision {
  if (by.personId !== current.assignedReviewerId) return refuse("REVIEWER_REQUIRED");
  return accept(current, by, {
    happened: "review_started",
    to: "under_review",
    change: {
      reviewStartedById: by.personId,
      reviewVersion: current.version + 1,
      reviewRound: current.reviewRound + 1,
    },
  });
}

/**
 * One approval a person. With two required, the last may not come from whoever started the review: no one person
 * then both leads a review and completes it.
 */
export function approve(current: Case, reason: string, by: Circumstances): Decision {
  if (by.personId === current.submitterId) return refuse("SELF_APPROVAL");
  if (current.approverIds.includes(by.personId)) return refuse("ALREADY_APPROVED");
  const approverIds = [...current.approverIds, by.personId];
  const decided = approverIds.length >= current.approvalsRequired;
  if (decided && current.approvalsRequired > 1 && by.personId === current.reviewStartedById) {
    return refuse("NOT_INDEPENDENT", { role: "review_starter" });
  }
  return accept(current, by, {
    happened: decided ? "approved" : "approval_recorded",
    to: decided ? "approved" : "under_review",
    reason,
    decidesReviewAt: current.reviewVersion,
    change: decided ? { approverIds, decidedAt: occurredAtOf(by) } : { approverIds },
  });
}

/** Whoever has approved, while another approval is awaited, may still come to another view. */
export function reject(current: Case, reason: string, by: Circumstances): Decision {
  if (by.personId === current.submitterId) return refuse("SELF_APPROVAL");
  if (isBlank(reason)) return refuse("REASON_REQUIRED");
  return accept(current, by, {
    happened: "rejected",
    to: "rejected",
    reason,
    decidesReviewAt: current.reviewVersion,
    spokeBefore: current.approverIds.includes(by.personId),
    change: { rejecterId: by.personId, decidedAt: occurredAtOf(by) },
  });
}
