import type { Statement } from "#libs/pg/statement.ts";
import { hashBytes } from "#libs/merkle/hash.ts";
import type { Tree } from "#libs/merkle/tree.ts";

/** Makes the tenant's log, empty, unless there is one. Waits for whoever is making it at the same time. */
export function createLog(tenantId: string): Statement {
  return {
    name: "create_log",
    text: "INSERT INTO logs (tenant_id, size) VALUES ($1, 0) ON CONFLICT (tenant_id) DO NOTHING",
    values: [tenantId],
  };
}

export interface LogRow {
  /** Bigints in decimal. The tree is smaller than the log where a release that knows of no trees appended. */
  readonly size: string;
  readonly tree_size: string;
  /** Roots of the tree's perfect subtrees, one after the other, largest first. */
  readonly tree_edge: Buffer;
}

/**
 * Locks the tenant's log until the transaction ends and gives its size and its tree: one row, when `createLog` went before.
 *
 * Whoever holds the lock is the tenant's only appender. In READ COMMITTED each statement sees what was committed before
 * it began: so statements after this one see all that the appender before wrote. What one before it read may be old.
 */
export function lockLog(tenantId: string): Statement {
  return {
    name: "lock_log",
    text: "SELECT size, tree_size, tree_edge FROM logs WHERE tenant_id = $1 FOR UPDATE",
    values: [tenantId],
  };
}

export function toTree({ tree_size: size, tree_edge: edge }: Omit<LogRow, "size">): Tree {
  return {
    size: Number(size),
    edge: Array.from({ length: edge.length / hashBytes }, (_, at) =>
      edge.subarray(at * hashBytes, (at + 1) * hashBytes),
    ),
  };
}

/** Sets size and tree of the tenant's log, which the caller has locked. */
export function saveLog(tenantId: string, size: bigint, tree: Tree): Statement {
  return {
    name: "save_log",
    text: "UPDATE logs SET size = $2, tree_size = $3, tree_edge = $4 WHERE tenant_id = $1",
    values: [tenantId, size, tree.size, Buffer.concat(tree.edge)],
  };
}
