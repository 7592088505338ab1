import type { Statement } from "#libs/pg/statement.ts";
import { isOfCase } from "./case-actions.ts";

/**
 * Reads up to `limit` audit entries of a case above `afterVersion`, oldest first: the stored bytes, which the answer is
 * decoded from, with action and digest. No row: the tenant has no such case, or no such entries. Locks nothing.
 */
export function listEntries(
  tenantId: string,
  caseId: string,
  afterVersion: number,
  limit: number,
): Statement {
  return {
    name: "list_entries",
    text: `
      SELECT version, action, event, event_digest
        FROM audit_entries
       WHERE tenant_id = $1 AND case_id = $2 AND version > $3 AND ${isOfCase("action")}
       ORDER BY version
       LIMIT $4`,
    values: [tenantId, caseId, afterVersion, limit],
  };
}

/** The columns of `listEntries` as `pg` gives them. */
export interface EntryRow {
  readonly version: number;
  readonly action: string;
  readonly event: Buffer;
  readonly event_digest: Buffer;
}
