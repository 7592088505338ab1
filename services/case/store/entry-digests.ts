import type { Statement } from "#libs/pg/statement.ts";

/** An entry's place in the order in which entries are listed. */
export interface EntryPosition {
  readonly caseId: string;
  readonly version: number;
}

/**
 * Reads up to `countMax` entries of a tenant after `after`, by case id and version, ascending, with whether each still waits for
 * its delivery, in one snapshot; those that stand under `caseId` alone when that is given. An entry that was skipped waits while its
 * tombstone does. Locks nothing.
 */
export function listEntryDigests(
  tenantId: string,
  caseId: string | undefined,
  after: EntryPosition,
  countMax: number,
): Statement {
  const place = "(case_id, version) > ($2::uuid, $3::integer)";
  return {
    name: caseId === undefined ? "list_entry_digests" : "list_entry_digests_of_subject",
    // LIMIT 1 keeps the lookups apart, one a row and by key: joined otherwise, the plan may read a long outbox whole.
    text: `
      SELECT e.case_id, e.version, e.event_id, e.event_digest, e.recorded_at,
             w.tenant_id IS NOT NULL AS waits, d.tenant_id IS NOT NULL AS dead,
             CASE WHEN c.tenant_id IS NULL THEN e.event END AS named_event
        FROM (SELECT tenant_id, case_id, version, event_id, event_digest, recorded_at, event
                FROM audit_entries
               WHERE tenant_id = $1 AND ${caseId === undefined ? place : `case_id = $5 AND ${place}`}
               ORDER BY case_id, version
               LIMIT $4) e
        LEFT JOIN LATERAL (
          SELECT tenant_id FROM cases k WHERE k.tenant_id = e.tenant_id AND k.case_id = e.case_id LIMIT 1) c ON true
        LEFT JOIN LATERAL (
          SELECT event_id FROM tombstones s
           WHERE s.tenant_id = e.tenant_id AND s.case_id = e.case_id AND s.version = e.version LIMIT 1) t ON true
        LEFT JOIN LATERAL (
          SELECT tenant_id FROM outbox o
           WHERE o.tenant_id = e.tenant_id AND o.event_id = ANY (ARRAY[e.event_id, t.event_id]) LIMIT 1) w ON true
        LEFT JOIN LATERAL (
          SELECT tenant_id FROM dead_letters l WHERE l.tenant_id = e.tenant_id AND l.event_id = e.event_id LIMIT 1) d ON true
       ORDER BY e.case_id, e.version`,
    values: [tenantId, after.caseId, after.version, countMax, ...(caseId === undefined ? [] : [caseId])],
  };
}

/** The columns of `listEntryDigests` as `pg` gives them. */
export interface EntryDigestRow {
  readonly case_id: string;
  readonly version: number;
  readonly event_id: string;
  readonly event_digest: Buffer;
  readonly recorded_at: Date;
  readonly waits: boolean;
  readonly dead: boolean;
  /** The event's bytes where it is not of a case, and so has a subject of another name; else null. */
  readonly named_event: Buffer | null;
}
