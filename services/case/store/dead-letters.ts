import type { Statement } from "#libs/pg/statement.ts";

/** Which dead letters are meant. What is given must hold. */
export interface DeadLetterFilter {
  readonly caseId: string | undefined;
  readonly eventId: string | undefined;
}

const ofEntry = (letter: string, other: string): string =>
  `${other}.tenant_id = ${letter}.tenant_id AND ${other}.case_id = ${letter}.case_id AND ${other}.version = ${letter}.version`;

/**
 * Reads up to `countMax` dead letters of a tenant after `afterEventId`, by event id, with their events; fewer where those would pass
 * `bytesMax`, but always the first. What waits behind one are the later entries of its case: none is delivered before it. Locks
 * nothing.
 */
export function listDeadLetters(
  tenantId: string,
  { caseId, eventId }: DeadLetterFilter,
  afterEventId: string,
  countMax: number,
  bytesMax: number,
): Statement {
  return {
    name: "list_dead_letters",
    text: `
      SELECT event_id, case_id, version, reason, detail, dead_at, event, event_digest, tombstone_event_id, waiting, page_count
        FROM (SELECT d.event_id, d.case_id, d.version, d.reason, d.detail, d.dead_at, e.event, e.event_digest,
                     t.event_id AS tombstone_event_id,
                     (SELECT max(w.version) FROM audit_entries w WHERE w.tenant_id = $1 AND w.case_id = d.case_id) - d.version AS waiting,
                     count(*) OVER () AS page_count,
                     sum(octet_length(e.event)) OVER (ORDER BY d.event_id) AS bytes
                FROM (SELECT tenant_id, event_id, case_id, version, reason, detail, dead_at
                        FROM dead_letters
                       WHERE tenant_id = $1 AND event_id > $2
                         AND ($3::uuid IS NULL OR case_id = $3) AND ($4::uuid IS NULL OR event_id = $4)
                       ORDER BY event_id
                       LIMIT $5) d
                JOIN audit_entries e ON ${ofEntry("d", "e")}
                LEFT JOIN tombstones t ON ${ofEntry("d", "t")}) page
       WHERE bytes - octet_length(event) < $6
       ORDER BY event_id`,
    values: [tenantId, afterEventId, caseId ?? null, eventId ?? null, countMax, bytesMax],
  };
}

/** The columns of `listDeadLetters` as `pg` gives them. */
export interface ListedDeadLetterRow {
  readonly event_id: string;
  readonly case_id: string;
  readonly version: number;
  readonly reason: string;
  readonly detail: string;
  readonly dead_at: Date;
  readonly event: Buffer;
  readonly event_digest: Buffer;
  readonly tombstone_event_id: string | null;
  readonly waiting: number;
  /** How many the page holds, those left out for their bytes included; a bigint in decimal. */
  readonly page_count: string;
}

/** The columns of `findDeadLetters` as `pg` gives them: a dead letter, and the latest act on delivery, if there was any. */
export interface DeadLetterRow {
  readonly event_id: string;
  readonly act_version: number | null;
  readonly act_event_id: string | null;
  readonly act_event_digest: Buffer | null;
}

/** The columns of `findDeadLetter` as `pg` gives them. */
export interface WholeDeadLetterRow extends DeadLetterRow {
  readonly version: number;
  readonly reason: string;
  readonly event: Buffer;
  readonly event_digest: Buffer;
  readonly tombstone_event_id: string | null;
}

const latestAct = (actId: string): string => `
  (SELECT version AS act_version, event_id AS act_event_id, event_digest AS act_event_digest
     FROM audit_entries
    WHERE tenant_id = $1 AND case_id = ${actId}
    ORDER BY version DESC
    LIMIT 1)`;

/** Finds which of the events are dead letters. In no order; one that is none has no row. Locks nothing. */
export function findDeadLetters(tenantId: string, eventIds: readonly string[], actId: string): Statement {
  return {
    name: "find_dead_letters",
    text: `
      SELECT d.event_id, a.act_version, a.act_event_id, a.act_event_digest
        FROM dead_letters d
        LEFT JOIN ${latestAct("$3")} a ON true
       WHERE d.tenant_id = $1 AND d.event_id = ANY($2::uuid[])`,
    values: [tenantId, eventIds, actId],
  };
}

/** Finds one dead letter, with its event. No row: the event is none. Locks nothing. */
export function findDeadLetter(tenantId: string, eventId: string, actId: string): Statement {
  return {
    name: "find_dead_letter",
    text: `
      SELECT d.event_id, d.version, d.reason, e.event, e.event_digest, t.event_id AS tombstone_event_id,
             a.act_version, a.act_event_id, a.act_event_digest
        FROM dead_letters d
        JOIN audit_entries e ON ${ofEntry("d", "e")}
        LEFT JOIN tombstones t ON ${ofEntry("d", "t")}
        LEFT JOIN ${latestAct("$3")} a ON true
       WHERE d.tenant_id = $1 AND d.event_id = $2`,
    values: [tenantId, eventId, actId],
  };
}
