import type { Breach } from "./breach.ts";
import type { CaseFacts } from "./case-facts.ts";
import type { LoggedEvent } from "./read-event.ts";
import { followAppeal, followAppealReview, judgeAppealDecision, judgeAppealReview } from "./rules-appeal.ts";
import {
  followErasure,
  followHold,
  followRelease,
  judgeErasure,
  judgeHold,
  judgeRelease,
} from "./rules-custody.ts";
import { followOverride, followProposal, judgeOverride, judgeProposal } from "./rules-override.ts";
import {
  followApproval,
  followAssignment,
  followRejection,
  followReviewStart,
  judgeApproval,
  judgeAssignment,
  judgeRejection,
  judgeReviewStart,
} from "./rules-review.ts";
import { followCreation, followSubmission, judgeDraft } from "./rules-draft.ts";

/** What a rule is given: the facts before the event, the event, and who acts. */
export interface Context {
  readonly facts: CaseFacts;
  readonly logged: LoggedEvent;
  readonly person: string;
  readonly hasOverridden: (person: string) => boolean;
}

/** One row of the state table, by what happened. */
export interface Step {
  /** States to begin in; empty: there is no case yet. */
  readonly from: readonly string[] | "any";
  /** Where it leads; `other`: the other one of approved and rejected. */
  readonly to: string;
  readonly role: string;
  /** Whose matter it decides, or helps to decide: such an event carries a decision hash. */
  readonly decides?: "review" | "appeal";
  readonly reasoned?: true;
  readonly authorised?: true;
  readonly judge?: (context: Context) => Breach | undefined;
  readonly follow?: (context: Context) => Partial<CaseFacts>;
}

const decided = ["approved", "rejected"] as const;

/** The state table, by the last word of an event's type. */
export const steps: Readonly<Record<string, Step>> = {
  created: { from: [""], to: "draft", role: "caseworker", follow: followCreation },
  updated: { from: ["draft"], to: "draft", role: "caseworker", judge: judgeDraft },
  submitted: {
    from: ["draft"],
    to: "submitted",
    role: "caseworker",
    judge: judgeDraft,
    follow: followSubmission,
  },
  reviewer_assigned: {
    from: ["submitted"],
    to: "submitted",
    role: "supervisor",
    judge: judgeAssignment,
    follow: followAssignment,
  },
  review_started: {
    from: ["submitted"],
    to: "under_review",
    role: "reviewer",
    judge: judgeReviewStart,
    follow: followReviewStart,
  },
  approval_recorded: {
    from: ["under_review"],
    to: "under_review",
    role: "reviewer",
    decides: "review",
    judge: judgeApproval,
    follow: followApproval,
  },
  approved: {
    from: ["under_review"],
    to: "approved",
    role: "reviewer",
    decides: "review",
    judge: judgeApproval,
    follow: followApproval,
  },
  rejected: {
    from: ["under_review"],
    to: "rejected",
    role: "reviewer",
    decides: "review",
    reasoned: true,
    judge: judgeRejection,
    follow: followRejection,
  },
  appealed: { from: decided, to: "appealed", role: "caseworker", reasoned: true, follow: followAppeal },
  appeal_review_started: {
    from: ["appealed"],
    to: "appeal_under_review",
    role: "reviewer",
    judge: judgeAppealReview,
    follow: followAppealReview,
  },
  appeal_approved: {
    from: ["appeal_under_review"],
    to: "appeal_approved",
    role: "reviewer",
    decides: "appeal",
    reasoned: true,
    judge: judgeAppealDecision,
  },
  appeal_rejected: {
    from: ["appeal_under_review"],
    to: "appeal_rejected",
    role: "reviewer",
    decides: "appeal",
    reasoned: true,
    judge: judgeAppealDecision,
  },
  override_proposed: {
    from: decided,
    to: "same",
    role: "supervisor",
    decides: "review",
    reasoned: true,
    authorised: true,
    judge: judgeProposal,
    follow: followProposal,
  },
  overridden: {
    from: decided,
    to: "other",
    role: "supervisor",
    decides: "review",
    reasoned: true,
    authorised: true,
    judge: judgeOverride,
    follow: followOverride,
  },
  closed: { from: [...decided, "appeal_approved", "appeal_rejected"], to: "closed", role: "supervisor" },
  held: {
    from: "any",
    to: "same",
    role: "operator",
    reasoned: true,
    authorised: true,
    judge: judgeHold,
    follow: followHold,
  },
  hold_released: {
    from: "any",
    to: "same",
    role: "operator",
    reasoned: true,
    authorised: true,
    judge: judgeRelease,
    follow: followRelease,
  },
  erased: {
    from: "any",
    to: "same",
    role: "operator",
    reasoned: true,
    authorised: true,
    judge: judgeErasure,
    follow: followErasure,
  },
};

/** What proposes or carries out an override makes its person one who does not review the appeal. */
export function isOverride(type: string): boolean {
  return type === "caseflow.case.override_proposed" || type === "caseflow.case.overridden";
}
