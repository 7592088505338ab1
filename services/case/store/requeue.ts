import type { Statement } from "#libs/pg/statement.ts";

/**
 * Finds which of the events are of entries of the tenant, and which of those are dead letters. In no order; an event that is of no
 * entry has no row. Locks nothing.
 */
export function findEntries(tenantId: string, eventIds: readonly string[]): Statement {
  return {
    name: "find_entries",
    text: `
      SELECT e.event_id,
             EXISTS (SELECT FROM dead_letters d WHERE d.tenant_id = e.tenant_id AND d.event_id = e.event_id) AS dead
        FROM audit_entries e
       WHERE e.tenant_id = $1 AND e.event_id = ANY ($2::uuid[])`,
    values: [tenantId, eventIds],
  };
}

/** The columns of `findEntries` as `pg` gives them. */
export interface FoundEntryRow {
  readonly event_id: string;
  readonly dead: boolean;
}

export interface NewRequeue {
  readonly tenantId: string;
  readonly eventIds: readonly string[];
  readonly lane: number;
  readonly principalId: string;
  readonly requestId: string;
  readonly requestHash: Uint8Array;
  readonly answer: Uint8Array;
  readonly answerExpiresAt: Date;
}

/**
 * The one data-modifying statement of a requeue: an outbox row for each of the entries that has none, and the answer, all or
 * none. A dead letter gets no row, and what was skipped gets one of its tombstone. Fails with a unique violation of
 * `recorded_answers_once` when the same request took effect meanwhile.
 */
export function saveRequeue(requeue: NewRequeue): Statement {
  return {
    name: "save_requeue",
    // LIMIT 1 keeps the lookups apart, one a row and by key: joined otherwise, the plan may read a long outbox whole.
    text: `
      WITH queued AS (
        INSERT INTO outbox (tenant_id, event_id, lane, case_id, version, traceparent)
        SELECT e.tenant_id, coalesce(t.event_id, e.event_id), $3, e.case_id, e.version, ''
          FROM audit_entries e
          LEFT JOIN LATERAL (
            SELECT event_id FROM tombstones s
             WHERE s.tenant_id = e.tenant_id AND s.case_id = e.case_id AND s.version = e.version LIMIT 1) t ON true
          LEFT JOIN LATERAL (
            SELECT tenant_id FROM outbox o
             WHERE o.tenant_id = e.tenant_id AND o.event_id = ANY (ARRAY[e.event_id, t.event_id]) LIMIT 1) w ON true
          LEFT JOIN LATERAL (
            SELECT tenant_id FROM dead_letters l WHERE l.tenant_id = e.tenant_id AND l.event_id = e.event_id LIMIT 1) d ON true
         WHERE e.tenant_id = $1 AND e.event_id = ANY ($2::uuid[]) AND w.tenant_id IS NULL AND d.tenant_id IS NULL
            ON CONFLICT DO NOTHING
      )
      INSERT INTO recorded_answers (tenant_id, principal_id, request_id, request_hash, answer, expires_at)
      VALUES ($1, $4, $5, $6, $7, $8)`,
    values: [
      requeue.tenantId,
      requeue.eventIds,
      requeue.lane,
      requeue.principalId,
      requeue.requestId,
      requeue.requestHash,
      requeue.answer,
      requeue.answerExpiresAt,
    ],
  };
}
