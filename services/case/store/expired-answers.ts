import type { Statement } from "#libs/pg/statement.ts";

/** Names a recorded answer. */
export interface AnswerKey {
  readonly tenantId: string;
  readonly principalId: string;
  readonly requestId: string;
}

/** Reads up to `countMax` answers of any tenant that had expired at `at`, those first that did so first. Locks nothing. */
export function listExpiredAnswers(at: Date, countMax: number): Statement {
  return {
    name: "list_expired_answers",
    text: `SELECT tenant_id, principal_id, request_id FROM recorded_answers WHERE expires_at < $1 ORDER BY expires_at LIMIT $2`,
    values: [at, countMax],
  };
}

export function toAnswerKey(row: {
  readonly tenant_id: string;
  readonly principal_id: string;
  readonly request_id: string;
}): AnswerKey {
  return { tenantId: row.tenant_id, principalId: row.principal_id, requestId: row.request_id };
}

/**
 * Removes answers of one tenant that had expired at `at`. What is not there any more is passed over; what has not expired by
 * the database's own clock is out of this role's reach.
 */
export function removeExpiredAnswers(tenantId: string, keys: readonly AnswerKey[], at: Date): Statement {
  return {
    name: "remove_expired_answers",
    text: `
      DELETE FROM recorded_answers r
       USING unnest($2::text[], $3::uuid[]) AS expired (principal_id, request_id)
       WHERE r.tenant_id = $1 AND r.principal_id = expired.principal_id AND r.request_id = expired.request_id
         AND r.expires_at < $4`,
    values: [
      tenantId,
      keys.map(({ principalId }) => principalId),
      keys.map(({ requestId }) => requestId),
      at,
    ],
  };
}
