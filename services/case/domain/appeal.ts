import type { AppealOutcome, Case } from "./case.ts";
import type { Circumstances } from "./command.ts";
import { accept, isBlank, occurredAtOf, refuse, type Decision } from "./decision.ts";

const dayMs = 24 * 60 * 60 * 1000;

/**
 * Contests the decision that stands. The window runs from when that decision was made, an override's from the override.
 * A proposal to override falls with it: from here on the appeal decides.
 */
export function appeal(current: Case, grounds: string, by: Circumstances): Decision {
  if (isBlank(grounds)) return refuse("REASON_REQUIRED");
  const occurredAt = occurredAtOf(by);
  const closesAt = appealableUntil(current);
  if (closesAt === undefined || occurredAt > closesAt) {
    return refuse("APPEAL_WINDOW_CLOSED", closesAt && { closed_at: closesAt.toISOString() });
  }
  return accept(current, by, {
    happened: "appealed",
    to: "appealed",
    reason: grounds,
    change: {
      overrideProposal: undefined,
      appeal: {
        appellantId: by.personId,
        appealedAt: occurredAt,
        reviewerId: undefined,
        reviewVersion: undefined,
        outcome: undefined,
        decidedAt: undefined,
      },
    },
  });
}

/** The last instant at which the decision that stands may be appealed; `undefined` where it may not. */
function appealableUntil({ overriddenAt, decidedAt, appealWindowDays }: Case): Date | undefined {
  const decisionAt = overriddenAt ?? decidedAt;
  if (decisionAt === undefined || appealWindowDays === 0) return undefined;
  return new Date(decisionAt.getTime() + appealWindowDays * dayMs);
}

/** Only somebody who took no part in what is appealed. */
export function startAppealReview(current: Case, by: Circumstances): Decision {
  const role = partOf(current, by.personId);
  if (role !== undefined) return refuse("NOT_INDEPENDENT", { role });
  if (current.appeal === undefined) throw new Error(`case ${current.id}: appealed without an appeal`);
  return accept(current, by, {
    happened: "appeal_review_started",
    to: "appeal_under_review",
    change: {
      appeal: { ...current.appeal, reviewerId: by.personId, reviewVersion: current.version + 1 },
      reviewRound: current.reviewRound + 1,
    },
  });
}

export function decideAppeal(
  current: Case,
  outcome: AppealOutcome,
  reason: string,
  by: Circumstances,
): Decision {
  const under = current.appeal;
  if (under?.reviewVersion === undefined || by.personId !== under.reviewerId)
    return refuse("REVIEWER_REQUIRED");
  if (isBlank(reason)) return refuse("REASON_REQUIRED");
  return accept(current, by, {
    happened: outcome,
    to: outcome,
    reason,
    decidesReviewAt: under.reviewVersion,
    completes: { version: under.reviewVersion, personId: by.personId },
    change: {
      appeal: {
        ...under,
        outcome,
        decidedAt: occurredAtOf(by),
      },
    },
  });
}

/** As what a person took part in the decision of a case; `undefined`: as nothing. */
function partOf(current: Case, personId: string): string | undefined {
  if (personId === current.submitterId) return "submitter";
  if (personId === current.appeal?.appellantId) return "appellant";
  if (personId === current.assignedReviewerId) return "assigned_reviewer";
  if (personId === current.reviewStartedById) return "review_starter";
  if (current.approverIds.includes(personId)) return "approver";
  if (personId === current.rejecterId) return "rejecter";
  if (current.overrideSpeakerIds.includes(personId)) return "overrider";
  return undefined;
}
