import type { Statement } from "#libs/pg/statement.ts";

/** Makes the tenant's log, empty, unless there is one. Waits for whoever is making it at the same time. */
export function createLog(tenantId: string): Statement {
  return {
    name: "create_log",
    text: "INSERT INTO logs (tenant_id, size) VALUES ($1, 0) ON CONFLICT (tenant_id) DO NOTHING",
    values: [tenantId],
  };
}

export interface LogRow {
  /** A bigint in decimal. */
  readonly size: string;
}

/**
 * Locks the tenant's log until the transaction ends and gives its size: one row, when `createLog` went before.
 *
 * Whoever holds the lock is the tenant's only appender. In READ COMMITTED each statement sees what was committed before
 * it began: so statements after this one see all that the appender before wrote. What one before it read may be old.
 */
export function lockLog(tenantId: string): Statement {
  return {
    name: "lock_log",
    text: "SELECT size FROM logs WHERE tenant_id = $1 FOR UPDATE",
    values: [tenantId],
  };
}

/** Sets the size of the tenant's log, which the caller has locked. */
export function saveLogSize(tenantId: string, size: bigint): Statement {
  return {
    name: "save_log_size",
    text: "UPDATE logs SET size = $2 WHERE tenant_id = $1",
    values: [tenantId, size],
  };
}
