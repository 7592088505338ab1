import type { Statement } from "#libs/pg/statement.ts";
import { caseStates, type Appeal, type Case, type CaseState, type OverrideProposal } from "../domain/case.ts";
import { changingColumns, fixedColumns } from "./case-columns.ts";
import { decodeContent } from "./content-bytes.ts";

/** A case with what its next event must link to. */
export interface StoredCase {
  readonly case: Case;
  /** Id of its latest event. */
  readonly latestEventId: string;
  /** SHA-256 of its latest event's bytes. */
  readonly latestDigest: Uint8Array;
}

export interface CaseFilter {
  /** Empty: all. */
  readonly states: readonly CaseState[];
  readonly caseType: string;
  readonly assignedReviewerId: string;
  readonly creatorId: string;
  readonly externalReference: string;
  readonly changedSince: Date | undefined;
}

const read = [...fixedColumns, ...changingColumns];
const selectCase = `
  SELECT c.case_id, c.version, ${read.map(({ name }) => `c.${name}`).join(", ")},
         k.content, e.event_id, e.event_digest,
         ARRAY(SELECT a.approver_id
                 FROM approvals a
                WHERE a.tenant_id = c.tenant_id AND a.case_id = c.case_id
                ORDER BY a.version) AS approver_ids
    FROM cases c
    JOIN audit_entries e ON e.tenant_id = c.tenant_id AND e.case_id = c.case_id AND e.version = c.version
    JOIN case_contents k ON k.tenant_id = c.tenant_id AND k.case_id = c.case_id AND k.content_version = c.content_version
   WHERE c.tenant_id = $1`;

/** Reads one case as it stands; no row when the tenant has no such case. Locks nothing. */
export function loadCase(tenantId: string, caseId: string): Statement {
  return { name: "load_case", text: `${selectCase} AND c.case_id = $2`, values: [tenantId, caseId] };
}

/**
 * Reads up to `countMax` cases, newest first (by id, descending), below `beforeId` when that is given; fewer where their
 * content would pass `bytesMax`, but always the first. Every row tells in `page_count` how many there were before that. Only
 * conditions that are given are part of the text, so that each combination gets the plan that fits it.
 */
export function listCases(
  tenantId: string,
  filter: CaseFilter,
  beforeId: string | undefined,
  countMax: number,
  bytesMax: number,
): Statement {
  const values: unknown[] = [tenantId];
  const given: string[] = [];
  const where = (letter: string, value: unknown, condition: (parameter: string) => string): string => {
    if (value === undefined || value === "" || (Array.isArray(value) && value.length === 0)) return "";
    values.push(value);
    given.push(letter);
    return ` AND ${condition(`$${values.length}`)}`;
  };
  const [firstState, ...otherStates] = filter.states;
  const conditions = [
    // A single state, said so, lets the index give the order too.
    otherStates.length > 0
      ? where("m", filter.states, (p) => `c.state = ANY(${p}::text[])`)
      : where("s", firstState, (p) => `c.state = ${p}`),
    where("t", filter.caseType, (p) => `c.case_type = ${p}`),
    where("r", filter.assignedReviewerId, (p) => `c.assigned_reviewer_id = ${p}`),
    where("c", filter.creatorId, (p) => `c.creator_id = ${p}`),
    where("x", filter.externalReference, (p) => `c.external_reference = ${p} AND c.external_reference <> ''`),
    where("u", filter.changedSince, (p) => `c.updated_at >= ${p}`),
    where("b", beforeId, (p) => `c.case_id < ${p}::uuid`),
  ].join("");
  values.push(countMax, bytesMax);
  const [count, bytes] = [`$${values.length - 1}`, `$${values.length}`];
  return {
    name: `list_cases:${given.join("")}`,
    text: `
      SELECT *
        FROM (SELECT *,
                     count(*) OVER () AS page_count,
                     sum(coalesce(octet_length(content), 0)) OVER (ORDER BY case_id DESC) AS bytes
                FROM (${selectCase}${conditions} ORDER BY c.case_id DESC LIMIT ${count}) found) page
       WHERE bytes - coalesce(octet_length(content), 0) < ${bytes}
       ORDER BY case_id DESC`,
    values,
  };
}

/** The columns of `selectCase` as `pg` gives them. */
export interface CaseRow {
  readonly case_id: string;
  readonly case_type: string;
  readonly external_reference: string;
  readonly state: string;
  readonly version: number;
  readonly content_version: number;
  readonly content_commitment: Buffer;
  readonly creator_id: string;
  readonly submitter_id: string | null;
  readonly submitted_version: number | null;
  readonly assigned_reviewer_id: string | null;
  readonly review_started_by_id: string | null;
  readonly review_version: number | null;
  readonly review_round: number;
  readonly rejecter_id: string | null;
  readonly policy_version: number;
  readonly approvals_required: number;
  readonly appeal_window_days: number;
  readonly proposal_version: number | null;
  readonly proposer_id: string | null;
  readonly proposal_target: string | null;
  readonly proposal_reason: string | null;
  readonly proposal_legal_authority: string | null;
  readonly overrider_ids: readonly string[];
  readonly override_speaker_ids: readonly string[];
  readonly overridden_at: Date | null;
  readonly appellant_id: string | null;
  readonly appealed_at: Date | null;
  readonly appeal_reviewer_id: string | null;
  readonly appeal_review_version: number | null;
  readonly appeal_outcome: string | null;
  readonly appeal_decided_at: Date | null;
  readonly on_hold: boolean;
  readonly erased: boolean;
  readonly created_at: Date;
  readonly updated_at: Date;
  readonly occurred_at: Date | null;
  readonly decided_at: Date | null;
  readonly content: Buffer | null;
  readonly event_id: string;
  readonly event_digest: Buffer;
  readonly approver_ids: readonly string[];
  /** Of `listCases` only: how many rows there were before the limit of bytes. A bigint, as text. */
  readonly page_count?: string;
}

/** Turns a row into a case. Throws on a row that the schema should have refused: it is not to be passed on. */
export function toStoredCase(row: CaseRow): StoredCase {
  const state = caseStates.find((known) => known === row.state);
  const approvalsRequired = row.approvals_required;
  if (state === undefined || (approvalsRequired !== 1 && approvalsRequired !== 2)) {
    throw new Error(`case ${row.case_id}: the stored row is damaged`);
  }
  if ((row.content === null) !== row.erased) throw new Error(`case ${row.case_id}: its content is missing`);
  return {
    case: {
      id: row.case_id,
      type: row.case_type,
      externalReference: row.external_reference,
      state,
      version: row.version,
      content: row.content === null ? undefined : decodeContent(row.content),
      contentVersion: row.content_version,
      contentCommitment: row.content_commitment,
      creatorId: row.creator_id,
      submitterId: row.submitter_id ?? undefined,
      submittedVersion: row.submitted_version ?? undefined,
      assignedReviewerId: row.assigned_reviewer_id ?? undefined,
      reviewStartedById: row.review_started_by_id ?? undefined,
      reviewVersion: row.review_version ?? undefined,
      reviewRound: row.review_round,
      approverIds: row.approver_ids,
      rejecterId: row.rejecter_id ?? undefined,
      overrideProposal: toProposal(row),
      overriderIds: row.overrider_ids,
      overrideSpeakerIds: row.override_speaker_ids,
      appeal: toAppeal(row),
      onHold: row.on_hold,
      erased: row.erased,
      policyVersion: row.policy_version,
      approvalsRequired,
      appealWindowDays: row.appeal_window_days,
      createdAt: row.created_at,
      updatedAt: row.updated_at,
      occurredAt: row.occurred_at ?? row.updated_at,
      decidedAt: row.decided_at ?? undefined,
      overriddenAt: row.overridden_at ?? undefined,
    },
    latestEventId: row.event_id,
    latestDigest: row.event_digest,
  };
}

function toProposal(row: CaseRow): OverrideProposal | undefined {
  const { proposal_version: version, proposer_id: proposerId, proposal_target: target } = row;
  if (version === null || proposerId === null) return undefined;
  if (target !== "approved" && target !== "rejected")
    throw new Error(`case ${row.case_id}: a damaged proposal`);
  return {
    proposerId,
    target,
    reason: row.proposal_reason ?? "",
    legalAuthority: row.proposal_legal_authority ?? "",
    version,
  };
}

function toAppeal(row: CaseRow): Appeal | undefined {
  const { appellant_id: appellantId, appealed_at: appealedAt, appeal_outcome: outcome } = row;
  if (appellantId === null || appealedAt === null) return undefined;
  if (outcome !== null && outcome !== "appeal_approved" && outcome !== "appeal_rejected") {
    throw new Error(`case ${row.case_id}: a damaged appeal`);
  }
  return {
    appellantId,
    appealedAt,
    reviewerId: row.appeal_reviewer_id ?? undefined,
    reviewVersion: row.appeal_review_version ?? undefined,
    outcome: outcome ?? undefined,
    decidedAt: row.appeal_decided_at ?? undefined,
  };
}
