import { tileWidth } from "#libs/merkle/tile.ts";
import type { Statement } from "#libs/pg/statement.ts";

/** A full tile about to be stored. */
export interface NewTile {
  /** 0: of leaf hashes. */
  readonly level: number;
  /** Among the tiles of its level, from 0. */
  readonly index: number;
  /** 256 × 32 bytes. */
  readonly hashes: Uint8Array;
  /** What it adds to the tile above it; 32 bytes. */
  readonly root: Uint8Array;
}

/** Stores full tiles, each for the first time. The caller has locked the tenant's log. */
export function insertTiles(tenantId: string, tiles: readonly NewTile[]): Statement {
  return {
    name: "insert_tiles",
    text: `
      INSERT INTO tiles (tenant_id, level, tile_index, hashes, root)
      SELECT $1, tile.level, tile.tile_index, tile.hashes, tile.root
        FROM unnest($2::smallint[], $3::bigint[], $4::bytea[], $5::bytea[]) AS tile (level, tile_index, hashes, root)`,
    values: [
      tenantId,
      tiles.map(({ level }) => level),
      tiles.map(({ index }) => index),
      tiles.map(({ hashes }) => hashes),
      tiles.map(({ root }) => root),
    ],
  };
}

/** What the statements below give: hashes in order, one after the other, in one row; no row where there are none. */
export interface HashesRow {
  readonly hashes: Buffer;
}

/** Reads a full tile. */
export function findTile(tenantId: string, level: number, index: number): Statement {
  return {
    name: "find_tile",
    text: "SELECT hashes FROM tiles WHERE tenant_id = $1 AND level = $2 AND tile_index = $3",
    values: [tenantId, level, index],
  };
}

/** Reads the roots of up to 256 full tiles of a level, from tile `from` to before tile `until`. */
export function listTileRoots(tenantId: string, level: number, from: number, until: number): Statement {
  return {
    name: "list_tile_roots",
    text: `
      SELECT string_agg(root, '' ORDER BY tile_index) AS hashes
        FROM (SELECT tile_index, root FROM tiles
               WHERE tenant_id = $1 AND level = $2 AND tile_index >= $3 AND tile_index < $4
               ORDER BY tile_index LIMIT ${tileWidth}) AS tile
      HAVING count(*) > 0`,
    values: [tenantId, level, from, until],
  };
}

/** Hashes up to 256 leaves, from leaf `from` to before leaf `until`: SHA-256(0x00 ‖ bytes), as RFC 9162 does. */
export function listLeafHashes(tenantId: string, from: number, until: number): Statement {
  return {
    name: "list_leaf_hashes",
    text: `
      SELECT string_agg(sha256('\\x00'::bytea || bytes), '' ORDER BY leaf_index) AS hashes
        FROM (SELECT leaf_index, bytes FROM events
               WHERE tenant_id = $1 AND leaf_index >= $2 AND leaf_index < $3
               ORDER BY leaf_index LIMIT ${tileWidth}) AS leaf
      HAVING count(*) > 0`,
    values: [tenantId, from, until],
  };
}
