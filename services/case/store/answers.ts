import type { Statement } from "#libs/pg/statement.ts";

/** What is known of a request id that took effect before. */
export interface AppliedRequest {
  /** The entry that it made; absent where it made none. */
  readonly entry: { readonly caseId: string; readonly version: number } | undefined;
  /** The recorded answer; absent once it has expired. */
  readonly answer: { readonly requestHash: Uint8Array; readonly bytes: Uint8Array } | undefined;
}

/**
 * Finds what a principal's request id did: from the audit entry, which keeps the id for ever, and from the recorded
 * answer, which expires. No row: it took no effect, or made no entry, and its answer is gone. Locks nothing.
 *
 * To be run after the case was read, in a statement (and so a snapshot) of its own: what the case shows, the answer then
 * shows too. The other way round, a commit between the two would look like somebody else's.
 */
export function findAppliedRequest(
  tenantId: string,
  principalId: string,
  requestId: string,
  at: Date,
): Statement {
  return {
    name: "find_applied_request",
    text: `
      SELECT e.case_id, e.version, r.request_hash, r.answer
        FROM audit_entries e
        LEFT JOIN recorded_answers r
          ON r.tenant_id = e.tenant_id AND r.principal_id = e.principal_id AND r.request_id = e.request_id
         AND r.expires_at > $4
       WHERE e.tenant_id = $1 AND e.principal_id = $2 AND e.request_id = $3
      UNION ALL
      SELECT NULL, NULL, a.request_hash, CASE WHEN a.expires_at > $4 THEN a.answer END
        FROM recorded_answers a
       WHERE a.tenant_id = $1 AND a.principal_id = $2 AND a.request_id = $3 AND a.case_id IS NULL`,
    values: [tenantId, principalId, requestId, at],
  };
}

/** An answer to a request that made no entry. */
export interface NewAnswer {
  readonly tenantId: string;
  readonly principalId: string;
  readonly requestId: string;
  readonly requestHash: Uint8Array;
  readonly answer: Uint8Array;
  readonly answerExpiresAt: Date;
}

/** Records what a request was answered with that found nothing to do. Fails with a unique violation of `recorded_answers_once`. */
export function saveAnswer(saved: NewAnswer): Statement {
  return {
    name: "save_answer",
    text: `
      INSERT INTO recorded_answers (tenant_id, principal_id, request_id, request_hash, answer, expires_at)
      VALUES ($1, $2, $3, $4, $5, $6)`,
    values: [
      saved.tenantId,
      saved.principalId,
      saved.requestId,
      saved.requestHash,
      saved.answer,
      saved.answerExpiresAt,
    ],
  };
}

/** The columns of `findAppliedRequest` as `pg` gives them. */
export interface AppliedRequestRow {
  readonly case_id: string | null;
  readonly version: number | null;
  readonly request_hash: Buffer | null;
  readonly answer: Buffer | null;
}

export function toAppliedRequest(row: AppliedRequestRow): AppliedRequest {
  const { case_id: caseId, version, request_hash: requestHash, answer } = row;
  return {
    entry: caseId !== null && version !== null ? { caseId, version } : undefined,
    answer: requestHash && answer ? { requestHash, bytes: answer } : undefined,
  };
}
