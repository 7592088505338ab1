import type { Statement } from "#libs/pg/statement.ts";
import type { Action, Case } from "../domain/case.ts";

/** Everything one accepted transition writes. */
export interface NewTransition {
  readonly tenantId: string;
  readonly next: Case;
  readonly action: Action;
  /** State before; `undefined` when the case is created. */
  readonly fromState: string | undefined;
  readonly principalId: string;
  readonly requestId: string;
  readonly requestHash: Uint8Array;
  readonly answer: Uint8Array;
  readonly answerExpiresAt: Date;
  readonly eventId: string;
  readonly event: Uint8Array;
  readonly eventDigest: Uint8Array;
  readonly recordedAt: Date;
  readonly lane: number;
  readonly traceparent: string;
  /** Present when the transition wrote a new content version. */
  readonly content: { readonly salt: Uint8Array; readonly bytes: Uint8Array } | undefined;
  /** Present when the transition is an approval. */
  readonly approvalOf: { readonly decisionHash: Uint8Array } | undefined;
}

/** Unique constraints whose violation means: somebody was faster, look again. */
export const lostRaceConstraints: ReadonlySet<string> = new Set([
  "recorded_answers_once",
  "audit_entries_request_id_once",
  "approvals_once_a_person",
]);

/**
 * The one data-modifying statement of a write: all of it, or, when the case is no longer at the version before `next`,
 * nothing. `rowCount` is 1 or 0 accordingly. Waits for whoever is changing the same case, then sees what they left.
 */
export function saveTransition(transition: NewTransition): Statement {
  const { tenantId, next } = transition;
  const creates = transition.fromState === undefined;
  return {
    name: creates ? "save_new_case" : "save_transition",
    text: creates ? insertCase + followUps : updateCase + followUps,
    values: [
      tenantId,
      next.id,
      next.version,
      next.type,
      next.externalReference,
      next.state,
      next.contentVersion,
      next.contentCommitment,
      next.creatorId,
      next.submitterId ?? null,
      next.assignedReviewerId ?? null,
      next.reviewStartedById ?? null,
      next.reviewVersion ?? null,
      next.reviewRound,
      next.rejecterId ?? null,
      next.policyVersion,
      next.approvalsRequired,
      next.createdAt,
      next.updatedAt,
      next.decidedAt ?? null,
      transition.action,
      transition.fromState ?? null,
      transition.principalId,
      transition.requestId,
      transition.eventId,
      transition.event,
      transition.eventDigest,
      transition.recordedAt,
      transition.content?.salt ?? null,
      transition.content?.bytes ?? null,
      transition.approvalOf?.decisionHash ?? null,
      transition.lane,
      transition.requestHash,
      transition.answer,
      transition.answerExpiresAt,
      transition.traceparent,
    ],
  };
}

const insertCase = `
  WITH saved AS (
    INSERT INTO cases (tenant_id, case_id, version, case_type, external_reference, state, content_version, content_commitment,
                       creator_id, submitter_id, assigned_reviewer_id, review_started_by_id, review_version, review_round,
                       rejecter_id, policy_version, approvals_required, created_at, updated_at, decided_at, submit_action)
    VALUES ($1::text, $2::uuid, $3::integer, $4::text, $5::text, $6::text, $7::integer, $8::bytea,
            $9::text, $10::text, $11::text, $12::text, $13::integer, $14::integer,
            $15::text, $16::integer, $17::smallint, $18::timestamptz, $19::timestamptz, $20::timestamptz, 'submit')
    RETURNING tenant_id, case_id, version, state, submitter_id
  )`;

/** What never changes (type, reference, creator, creation) is compared rather than written: a mix-up saves nothing. */
const updateCase = `
  WITH saved AS (
    UPDATE cases
       SET version = $3::integer, state = $6::text, content_version = $7::integer, content_commitment = $8::bytea,
           submitter_id = $10::text,
           submitted_version = CASE WHEN $21::text = 'submit' THEN $3::integer ELSE submitted_version END,
           assigned_reviewer_id = $11::text, review_started_by_id = $12::text,
           review_version = $13::integer, review_round = $14::integer, rejecter_id = $15::text,
           policy_version = $16::integer, approvals_required = $17::smallint,
           updated_at = $19::timestamptz, decided_at = $20::timestamptz
     WHERE tenant_id = $1::text AND case_id = $2::uuid AND version = $3::integer - 1
       AND case_type = $4::text AND external_reference = $5::text AND creator_id = $9::text AND created_at = $18::timestamptz
    RETURNING tenant_id, case_id, version, state, submitter_id
  )`;

const followUps = `,
  entry AS (
    INSERT INTO audit_entries (tenant_id, case_id, version, action, from_state, to_state, previous_version,
                               principal_id, request_id, event_id, event, event_digest, recorded_at)
    SELECT tenant_id, case_id, version, $21::text, $22::text, state, nullif(version - 1, 0),
           $23::text, $24::uuid, $25::uuid, $26::bytea, $27::bytea, $28::timestamptz
      FROM saved
  ),
  content AS (
    INSERT INTO case_contents (tenant_id, case_id, content_version, salt, content, commitment)
    SELECT tenant_id, case_id, $7::integer, $29::bytea, $30::bytea, $8::bytea FROM saved WHERE $30::bytea IS NOT NULL
  ),
  approval AS (
    INSERT INTO approvals (tenant_id, case_id, review_round, approver_id, submitter_id, version, action, decision_hash)
    SELECT tenant_id, case_id, $14::integer, $23::text, submitter_id, version, $21::text, $31::bytea
      FROM saved WHERE $31::bytea IS NOT NULL
  ),
  queued AS (
    INSERT INTO outbox (tenant_id, event_id, lane, case_id, version, traceparent)
    SELECT tenant_id, $25::uuid, $32::smallint, case_id, version, $36::text FROM saved
  )
  INSERT INTO recorded_answers (tenant_id, principal_id, request_id, request_hash, answer, case_id, version, expires_at)
  SELECT tenant_id, $23::text, $24::uuid, $33::bytea, $34::bytea, case_id, version, $35::timestamptz FROM saved`;
