import { emptyTree, type Tree } from "#libs/merkle/tree.ts";
import type { Statement } from "#libs/pg/statement.ts";
import { toSqlTime } from "./events.ts";
import { toTree, type LogRow } from "./logs.ts";

/** A signed checkpoint, as the database keeps it. */
export interface StoredCheckpoint {
  readonly treeSize: number;
  /** A C2SP signed note. */
  readonly note: string;
  /** Microseconds since 1970-01-01 UTC. */
  readonly sealedAtMicros: bigint;
}

/** A log, its tree, and how far it is signed. */
export interface LogHead {
  /** At least that of the tree. */
  readonly size: number;
  readonly tree: Tree;
  /** The newest. */
  readonly checkpoint: StoredCheckpoint | undefined;
}

export interface LogHeadRow extends LogRow {
  /** Bigints in decimal. Of the newest checkpoint; null where there is none. */
  readonly checkpoint_size: string | null;
  readonly sealed_at_micros: string | null;
  readonly note: string | null;
}

/** Reads size, tree and newest checkpoint of the tenant's log: one row, or none where there is no log. */
export function findLogHead(tenantId: string): Statement {
  return {
    name: "find_log_head",
    text: `
      SELECT log.size, log.tree_size, log.tree_edge, newest.tree_size AS checkpoint_size, newest.note,
             (extract(epoch FROM newest.sealed_at) * 1000000)::bigint AS sealed_at_micros
        FROM logs AS log
        LEFT JOIN LATERAL (
          SELECT tree_size, note, sealed_at FROM checkpoints WHERE tenant_id = $1 ORDER BY tree_size DESC LIMIT 1
        ) AS newest ON TRUE
       WHERE log.tenant_id = $1`,
    values: [tenantId],
  };
}

/** A tenant without a log has an empty one. */
export function toLogHead(row: LogHeadRow | undefined): LogHead {
  if (!row) return { size: 0, tree: emptyTree, checkpoint: undefined };
  const { size, checkpoint_size: checkpointSize, note, sealed_at_micros: sealedAtMicros } = row;
  const isSigned = checkpointSize !== null && note !== null && sealedAtMicros !== null;
  return {
    size: Number(size),
    tree: toTree(row),
    checkpoint: isSigned
      ? { treeSize: Number(checkpointSize), note, sealedAtMicros: BigInt(sealedAtMicros) }
      : undefined,
  };
}

export interface SignedLogRow {
  readonly tenant_id: string;
  /** Bigints in decimal; of the newest checkpoint, null where there is none. */
  readonly size: string;
  readonly tree_size: string;
  readonly checkpoint_size: string | null;
}

/** Reads how far each log is signed, of up to `countMax` tenants after `afterTenantId`, by id. For the signer's role, who sees them all. */
export function listSignedLogs(afterTenantId: string, countMax: number): Statement {
  return {
    name: "list_signed_logs",
    text: `
      SELECT log.tenant_id, log.size, log.tree_size,
             (SELECT c.tree_size FROM checkpoints AS c WHERE c.tenant_id = log.tenant_id
               ORDER BY c.tree_size DESC LIMIT 1) AS checkpoint_size
        FROM logs AS log
       WHERE log.tenant_id > $1
       ORDER BY log.tenant_id
       LIMIT $2`,
    values: [afterTenantId, countMax],
  };
}

/** Stores a signed checkpoint; does nothing where the database has one of that size. As the signer's role. */
export function insertCheckpoint(tenantId: string, checkpoint: StoredCheckpoint): Statement {
  return {
    name: "insert_checkpoint",
    text: `
      INSERT INTO checkpoints (tenant_id, tree_size, note, sealed_at) VALUES ($1, $2, $3, $4)
      ON CONFLICT (tenant_id, tree_size) DO NOTHING`,
    values: [tenantId, checkpoint.treeSize, checkpoint.note, toSqlTime(checkpoint.sealedAtMicros)],
  };
}

/** Remembers keys that have signed a checkpoint of the log; those that are known stay as they are. As the signer's role. */
export function insertVerifierKeys(
  tenantId: string,
  vkeys: readonly string[],
  fromMicros: bigint,
): Statement {
  return {
    name: "insert_verifier_keys",
    text: `
      INSERT INTO verifier_keys (tenant_id, vkey, active_from)
      SELECT $1, key.vkey, $3::timestamptz FROM unnest($2::text[]) AS key (vkey)
      ON CONFLICT (tenant_id, vkey) DO NOTHING`,
    values: [tenantId, vkeys, toSqlTime(fromMicros)],
  };
}

const keysMax = 64;

/** Reads the keys that have ever signed the log, newest first, and of those of the same time by name. */
export function listVerifierKeys(tenantId: string): Statement {
  return {
    name: "list_verifier_keys",
    text: `SELECT vkey FROM verifier_keys WHERE tenant_id = $1 ORDER BY active_from DESC, vkey LIMIT ${keysMax}`,
    values: [tenantId],
  };
}
