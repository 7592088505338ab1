import type { Statement } from "#libs/pg/statement.ts";
import type { PendingEvent } from "../domain/pending-event.ts";

/*
 * What the relay reads and writes, as its own role, which sees the outbox of every tenant. Each statement is a plain one over
 * a lane, or touches one tenant alone.
 */

/** The first lane after `afterLane` in which something waits; no row when there is none. Locks nothing. */
export function nextPendingLane(afterLane: number): Statement {
  return {
    name: "next_pending_lane",
    text: `SELECT lane FROM outbox WHERE lane > $1 ORDER BY lane LIMIT 1`,
    values: [afterLane],
  };
}

/** The lane's first tenant, by id, after `afterTenantId` for whom something waits; no row when there is none. */
export function nextPendingTenant(lane: number, afterTenantId: string): Statement {
  return {
    name: "next_pending_tenant",
    text: `SELECT tenant_id FROM outbox WHERE lane = $1 AND tenant_id > $2 ORDER BY tenant_id LIMIT 1`,
    values: [lane, afterTenantId],
  };
}

/** The id before every other. */
export const beforeEveryEvent = "00000000-0000-0000-0000-000000000000";

/**
 * Up to `countMax` events of a tenant that wait, after `afterEventId`, by event id: a case's in the order of their versions;
 * fewer where their bytes would pass `bytesMax`, but always the first. What is queued under a tombstone's id has the tombstone's bytes.
 * Cases with a dead letter are left out: they wait until somebody acts. Locks nothing. Each entry is looked
 * up by its key: a join may, while the table is young, read the tenant whole.
 */
export function pendingEvents(
  lane: number,
  tenantId: string,
  afterEventId: string,
  countMax: number,
  bytesMax: number,
): Statement {
  return {
    name: "pending_events",
    text: `
      SELECT tenant_id, event_id, case_id, version, traceparent, event
        FROM (SELECT o.tenant_id, o.event_id, o.case_id, o.version, o.traceparent, coalesce(t.event, e.event) AS event,
                     sum(octet_length(coalesce(t.event, e.event))) OVER (ORDER BY o.event_id) AS bytes
                FROM (SELECT tenant_id, event_id, case_id, version, traceparent
                        FROM outbox w
                       WHERE lane = $1 AND tenant_id = $2 AND event_id > $3
                         AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.tenant_id = w.tenant_id AND d.case_id = w.case_id)
                       ORDER BY event_id
                       LIMIT $4) o
               CROSS JOIN LATERAL (SELECT event
                                      FROM audit_entries
                                     WHERE tenant_id = $2 AND case_id = o.case_id AND version = o.version
                                     LIMIT 1) e
                LEFT JOIN tombstones t ON t.tenant_id = o.tenant_id AND t.event_id = o.event_id) b
       WHERE bytes - octet_length(event) < $5
       ORDER BY event_id`,
    values: [lane, tenantId, afterEventId, countMax, bytesMax],
  };
}

/** Takes acknowledged events out of the outbox. Events that are not there any more are nobody's business. */
export function removeDelivered(tenantId: string, eventIds: readonly string[]): Statement {
  return {
    name: "remove_delivered",
    text: `DELETE FROM outbox WHERE tenant_id = $1 AND event_id = ANY($2::uuid[])`,
    values: [tenantId, eventIds],
  };
}

/**
 * Turns an outbox row into a dead letter, in one statement. Does nothing when the row is gone: another relay has
 * delivered it meanwhile. A tombstone that is given up leaves its original as the dead letter, and the detail says so.
 */
export function buryEvent(event: PendingEvent, reason: string, detail: string, at: Date): Statement {
  return {
    name: "bury_event",
    text: `
      WITH taken AS (
        DELETE FROM outbox WHERE tenant_id = $1 AND event_id = $2 RETURNING tenant_id, event_id, case_id, version
      )
      INSERT INTO dead_letters (tenant_id, event_id, case_id, version, reason, detail, dead_at)
      SELECT t.tenant_id, e.event_id, t.case_id, t.version, $3,
             left(CASE WHEN e.event_id = t.event_id THEN $4::text ELSE 'its tombstone: ' || $4::text END, 1000), $5::timestamptz
        FROM taken t
        JOIN audit_entries e ON e.tenant_id = t.tenant_id AND e.case_id = t.case_id AND e.version = t.version
       WHERE e.tenant_id = $1
      ON CONFLICT DO NOTHING`,
    values: [event.tenantId, event.eventId, clean(reason, 100), clean(detail, 1000), at],
  };
}

/** What came over the network, as text that PostgreSQL can hold. */
function clean(text: string, charsMax: number): string {
  return text.replaceAll("\0", "").toWellFormed().slice(0, charsMax);
}

/** The columns of `pendingEvents` as `pg` gives them. */
export interface PendingEventRow {
  readonly tenant_id: string;
  readonly event_id: string;
  readonly case_id: string;
  readonly version: number;
  readonly traceparent: string;
  readonly event: Buffer;
}

export function toPendingEvent(row: PendingEventRow): PendingEvent {
  return {
    tenantId: row.tenant_id,
    eventId: row.event_id,
    caseId: row.case_id,
    version: row.version,
    traceparent: row.traceparent,
    event: row.event,
  };
}
