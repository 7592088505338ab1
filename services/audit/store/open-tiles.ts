import { tileWidth } from "#libs/merkle/tile.ts";
import type { Statement } from "#libs/pg/statement.ts";

/*
 * What an append must know of the tiles that it completes: the hashes that are in them already. Both statements are for a
 * transaction that has locked the tenant's log, with `keyLookups`; both find nothing where no tile can be filled, which is
 * what most appends are.
 */

export interface OpenLeavesRow {
  /** Leaf indexes, bigints in decimal, in no order. */
  readonly indexes: readonly string[];
  /** The leaves' hashes in that order, one after the other. */
  readonly hashes: Buffer;
}

/**
 * Hashes the leaves of the tree's last, partial tile, and those behind it that are not in the tree yet, at most `lagMax` of
 * them: one row, or none where the tree has every leaf and `arriving` more cannot fill its last tile.
 */
export function readOpenLeaves(tenantId: string, arriving: number, lagMax: number): Statement {
  return {
    name: "read_open_leaves",
    text: `
      SELECT array_agg(leaf.leaf_index) AS indexes, string_agg(leaf.hash, '') AS hashes
        FROM (SELECT size, tree_size - tree_size % ${tileWidth} AS first, tree_size % ${tileWidth} + $3::bigint AS most
                FROM logs
               WHERE tenant_id = $1 AND (tree_size < size OR tree_size % ${tileWidth} + $2::bigint >= ${tileWidth})) AS log
       CROSS JOIN LATERAL (
         SELECT leaf_index, sha256('\\x00'::bytea || bytes) AS hash
           FROM events
          WHERE tenant_id = $1 AND leaf_index >= log.first AND leaf_index < log.size
          ORDER BY leaf_index
          LIMIT log.most
       ) AS leaf
      HAVING count(*) > 0`,
    values: [tenantId, arriving, lagMax],
  };
}

export interface RootRow {
  /** Of the tile whose root it is. */
  readonly level: number;
  /** A bigint in decimal. */
  readonly tile_index: string;
  readonly root: Buffer;
}

/** Leaves below one full tile of level 1, 2, …: a tree ends before one of level 6 is full. */
const leavesBelow = [1, 2, 3, 4, 5].map((level) => tileWidth ** (level + 1));

/**
 * Reads the roots of the full tiles that stand in partial tiles above them, of each level where `arriving` more leaves could fill
 * the one above; in no order. No rows where none can be filled.
 */
export function readOpenRoots(tenantId: string, arriving: number): Statement {
  return {
    name: "read_open_roots",
    text: `
      SELECT tile.level, tile.tile_index, tile.root
        FROM logs AS log
       CROSS JOIN unnest($3::bigint[]) WITH ORDINALITY AS above (leaves, level)
       CROSS JOIN LATERAL (
         SELECT level, tile_index, root
           FROM tiles
          WHERE tenant_id = $1
            AND level = above.level - 1
            AND tile_index >= log.tree_size / above.leaves * ${tileWidth}
          ORDER BY tile_index
          LIMIT ${tileWidth}
       ) AS tile
       WHERE log.tenant_id = $1
         AND log.tree_size % above.leaves + (log.size - log.tree_size) + $2::bigint >= above.leaves`,
    values: [tenantId, arriving, leavesBelow],
  };
}
