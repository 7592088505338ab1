import { databaseIdentity } from "#libs/pg/database-identity.ts";
import type { Statement } from "#libs/pg/statement.ts";
import { isOfCase } from "./case-actions.ts";

/** An entry's place in the order in which changes are watched. */
export interface ChangePosition {
  /** The transaction that wrote it; an xid8 in decimal. */
  readonly committedIn: string;
  readonly caseId: string;
  readonly version: number;
}

/**
 * Reads which database this is, and how far its transactions have come: one row. Run before `listChanges` in the same round
 * trip, it bounds what that has seen.
 */
export const readTransactions: Statement = {
  name: "read_transactions",
  text: `
    SELECT ${databaseIdentity} AS identity,
           pg_snapshot_xmin(pg_current_snapshot()) AS open_from,
           pg_snapshot_xmax(pg_current_snapshot()) AS unused_from`,
  values: [],
};

/** The columns of `readTransactions` as `pg` gives them; the ids are xid8 in decimal. */
export interface TransactionsRow {
  readonly identity: string;
  /** Every transaction below has ended, and what it wrote can be seen. */
  readonly open_from: string;
  /** None from here on has ended. */
  readonly unused_from: string;
}

/** Finds an entry by its place and its event's id: no row when the entry there is another, or none. Locks nothing. */
export function findChange(tenantId: string, at: ChangePosition, eventId: string): Statement {
  return {
    name: "find_change",
    text: "SELECT version FROM audit_entries WHERE tenant_id = $1 AND case_id = $2 AND version = $3 AND event_id = $4",
    values: [tenantId, at.caseId, at.version, eventId],
  };
}

/**
 * Reads up to `countMax` changes of a tenant after `after`, by transaction, case and version; fewer where their bytes would pass
 * `bytesMax`, but always the first. Locks nothing.
 *
 * Transaction ids are not a commit order. So only transactions below the oldest that is open are read: nothing can turn up
 * among them any more, and nothing is skipped. A case's versions come in order, because each is written by a transaction that
 * began after the one before had committed. Entries of other subjects are no changes of a case.
 */
export function listChanges(
  tenantId: string,
  after: ChangePosition,
  countMax: number,
  bytesMax: number,
): Statement {
  return {
    name: "list_changes",
    text: `
      SELECT committed_in, case_id, version, event_id, event, answer
        FROM (SELECT *, sum(weight) OVER (ORDER BY committed_in, case_id, version) AS bytes
                FROM (SELECT e.committed_in, e.case_id, e.version, e.event_id, e.event, r.answer,
                             octet_length(e.event) + coalesce(octet_length(r.answer), 0) AS weight
                        FROM audit_entries e
                        LEFT JOIN recorded_answers r
                          ON r.tenant_id = e.tenant_id AND r.principal_id = e.principal_id AND r.request_id = e.request_id
                       WHERE e.tenant_id = $1 AND (e.committed_in, e.case_id, e.version) > ($2::xid8, $3::uuid, $4::integer)
                         AND e.committed_in < pg_snapshot_xmin(pg_current_snapshot())
                         AND ${isOfCase("e.action")}
                       ORDER BY e.committed_in, e.case_id, e.version
                       LIMIT $5) found) page
       WHERE bytes - weight < $6
       ORDER BY committed_in, case_id, version`,
    values: [tenantId, after.committedIn, after.caseId, after.version, countMax, bytesMax],
  };
}

/** The columns of `listChanges` as `pg` gives them. */
export interface ChangeRow {
  readonly committed_in: string;
  readonly case_id: string;
  readonly version: number;
  readonly event_id: string;
  readonly event: Buffer;
  /** What the request that made the change was answered with; null once that was removed. */
  readonly answer: Buffer | null;
}
