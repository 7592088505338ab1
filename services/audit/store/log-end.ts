import type { Statement } from "#libs/pg/statement.ts";

/** Reads how far the tenant's log goes, and the digest of its last event: one row, or none where there is no log. */
export function readLogEnd(tenantId: string): Statement {
  return {
    name: "read_log_end",
    text: `
      SELECT size, (SELECT digest FROM events WHERE tenant_id = $1 AND leaf_index = logs.size - 1) AS last_digest
        FROM logs
       WHERE tenant_id = $1`,
    values: [tenantId],
  };
}

export interface LogEndRow {
  /** A bigint in decimal. */
  readonly size: string;
  /** Null where the log is empty. */
  readonly last_digest: Buffer | null;
}

/** Reads the digest of one event of the tenant's log: one row, or none where the log does not go so far. */
export function readLeafDigest(tenantId: string, leafIndex: bigint): Statement {
  return {
    name: "read_leaf_digest",
    text: "SELECT digest FROM events WHERE tenant_id = $1 AND leaf_index = $2",
    values: [tenantId, leafIndex],
  };
}

export interface LeafDigestRow {
  readonly digest: Buffer;
}
