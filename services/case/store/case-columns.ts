import type { Case } from "../domain/case.ts";

/** A column of `cases` that a case is written to. */
export interface CaseColumn {
  readonly name: string;
  readonly type: string;
  readonly valueOf: (found: Case) => unknown;
}

const column = (name: string, type: string, valueOf: CaseColumn["valueOf"]): CaseColumn => ({
  name,
  type,
  valueOf: (found) => valueOf(found) ?? null,
});

/** What is written when a case is created and never again; an update compares it, so that a mix-up saves nothing. */
export const fixedColumns: readonly CaseColumn[] = [
  column("case_type", "text", (c) => c.type),
  column("external_reference", "text", (c) => c.externalReference),
  column("creator_id", "text", (c) => c.creatorId),
  column("created_at", "timestamptz", (c) => c.createdAt),
  column("created_policy_version", "integer", (c) => c.policyVersion),
  column("created_approvals_required", "smallint", (c) => c.approvalsRequired),
  column("appeal_window_days", "integer", (c) => c.appealWindowDays),
];

/** What a transition may change. */
export const changingColumns: readonly CaseColumn[] = [
  column("state", "text", (c) => c.state),
  column("content_version", "integer", (c) => c.contentVersion),
  column("content_commitment", "bytea", (c) => c.contentCommitment),
  column("submitter_id", "text", (c) => c.submitterId),
  column("submitted_version", "integer", (c) => c.submittedVersion),
  column("assigned_reviewer_id", "text", (c) => c.assignedReviewerId),
  column("review_started_by_id", "text", (c) => c.reviewStartedById),
  column("review_version", "integer", (c) => c.reviewVersion),
  column("review_round", "integer", (c) => c.reviewRound),
  column("rejecter_id", "text", (c) => c.rejecterId),
  column("proposal_version", "integer", (c) => c.overrideProposal?.version),
  column("proposer_id", "text", (c) => c.overrideProposal?.proposerId),
  column("proposal_target", "text", (c) => c.overrideProposal?.target),
  column("proposal_reason", "text", (c) => c.overrideProposal?.reason),
  column("proposal_legal_authority", "text", (c) => c.overrideProposal?.legalAuthority),
  column("overrider_ids", "text[]", (c) => c.overriderIds),
  column("override_speaker_ids", "text[]", (c) => c.overrideSpeakerIds),
  column("overridden_at", "timestamptz", (c) => c.overriddenAt),
  column("appellant_id", "text", (c) => c.appeal?.appellantId),
  column("appealed_at", "timestamptz", (c) => c.appeal?.appealedAt),
  column("appeal_reviewer_id", "text", (c) => c.appeal?.reviewerId),
  column("appeal_review_version", "integer", (c) => c.appeal?.reviewVersion),
  column("appeal_outcome", "text", (c) => c.appeal?.outcome),
  column("appeal_decided_at", "timestamptz", (c) => c.appeal?.decidedAt),
  column("on_hold", "boolean", (c) => c.onHold),
  column("erased", "boolean", (c) => c.erased),
  column("policy_version", "integer", (c) => c.policyVersion),
  column("approvals_required", "smallint", (c) => c.approvalsRequired),
  column("updated_at", "timestamptz", (c) => c.updatedAt),
  column("occurred_at", "timestamptz", (c) => c.occurredAt),
  column("decided_at", "timestamptz", (c) => c.decidedAt),
];
