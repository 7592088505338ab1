import type { QueryResult } from "pg";
import { hashBytes } from "#libs/merkle/hash.ts";
import { type ReadTile, type Tile, tilePath, tileWidth } from "#libs/merkle/tile.ts";
import type { Statement } from "#libs/pg/statement.ts";
import { findTile, listLeafHashes, listTileRoots, type HashesRow } from "./tiles.ts";
import { TreeDamagedError } from "./tree-damaged.ts";

/** Runs one statement for the tenant. */
export type RunStatement = (statement: Statement) => Promise<QueryResult>;

/**
 * Reads tiles of a tenant's tree, which has `treeSize` leaves by now, also as they were when it had fewer: full tiles as they are
 * stored, partial ones put together from leaves or from the roots of the tiles below. No row of these ever changes, so that
 * statements of their own see one tree. Asks for each tile once.
 *
 * Throws `TreeDamagedError`, and what `run` throws.
 */
export function createTileReader(run: RunStatement, tenantId: string, treeSize: number): ReadTile {
  const reads = new Map<string, Promise<Buffer>>();
  return async (tile) => {
    const { level, index } = tile;
    const hashes = Math.floor(treeSize / tileWidth ** level);
    const whole = { level, index, width: Math.min(tileWidth, hashes - index * tileWidth) };
    const path = tilePath(whole);
    let read = reads.get(path);
    if (!read) reads.set(path, (read = readHashes(whole)));
    const bytes = await read;
    if (bytes.length !== whole.width * hashBytes) {
      throw new TreeDamagedError(`${path} has ${bytes.length / hashBytes} hashes`);
    }
    return bytes.subarray(0, tile.width * hashBytes);
  };

  async function readHashes({ level, index, width }: Tile): Promise<Buffer> {
    const start = index * tileWidth;
    const { rows } = await run(
      width === tileWidth
        ? findTile(tenantId, level, index)
        : level === 0
          ? listLeafHashes(tenantId, start, start + width)
          : listTileRoots(tenantId, level - 1, start, start + width),
    );
    const row: HashesRow | undefined = rows[0];
    return row?.hashes ?? Buffer.alloc(0);
  }
}
