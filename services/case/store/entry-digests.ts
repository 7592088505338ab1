import type { Statement } from "#libs/pg/statement.ts";

/** An entry's place in the order in which entries are listed. */
export interface EntryPosition {
  readonly caseId: string;
  readonly version: number;
}

/** Whose entries are meant. */
export interface EntrySubject {
  /** Under which they stand. */
  readonly id: string;
  readonly isPolicy: boolean;
}

/**
 * Reads up to `countMax` entries of a tenant after `after`, by case id and version, ascending, with whether each still waits for
 * its delivery, in one snapshot. `subject` absent: of all. Locks nothing.
 */
export function listEntryDigests(
  tenantId: string,
  subject: EntrySubject | undefined,
  after: EntryPosition,
  countMax: number,
): Statement {
  const place = "(case_id, version) > ($2::uuid, $3::integer)";
  const ofSubject = "case_id = $5 AND (action = 'set_policy') = $6";
  return {
    name: subject ? "list_entry_digests_of_subject" : "list_entry_digests",
    // LIMIT 1 keeps the lookups apart, one a row and by key: joined otherwise, the plan may read a long outbox whole.
    text: `
      SELECT e.case_id, e.version, e.event_id, e.event_digest, e.recorded_at, p.case_type,
             w.tenant_id IS NOT NULL AS waits, d.tenant_id IS NOT NULL AS dead
        FROM (SELECT tenant_id, case_id, version, action, event_id, event_digest, recorded_at
                FROM audit_entries
               WHERE tenant_id = $1 AND ${subject ? `${ofSubject} AND ${place}` : place}
               ORDER BY case_id, version
               LIMIT $4) e
        LEFT JOIN case_policies p
          ON e.action = 'set_policy' AND p.tenant_id = e.tenant_id AND p.subject_id = e.case_id AND p.policy_version = e.version
        LEFT JOIN LATERAL (
          SELECT tenant_id FROM outbox o WHERE o.tenant_id = e.tenant_id AND o.event_id = e.event_id LIMIT 1) w ON true
        LEFT JOIN LATERAL (
          SELECT tenant_id FROM dead_letters l WHERE l.tenant_id = e.tenant_id AND l.event_id = e.event_id LIMIT 1) d ON true
       ORDER BY e.case_id, e.version`,
    values: [
      tenantId,
      after.caseId,
      after.version,
      countMax,
      ...(subject ? [subject.id, subject.isPolicy] : []),
    ],
  };
}

/** The columns of `listEntryDigests` as `pg` gives them. */
export interface EntryDigestRow {
  readonly case_id: string;
  readonly version: number;
  readonly event_id: string;
  readonly event_digest: Buffer;
  readonly recorded_at: Date;
  /** Of a policy's entry; null for a case's. */
  readonly case_type: string | null;
  readonly waits: boolean;
  readonly dead: boolean;
}
