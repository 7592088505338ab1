import { hashBytes } from "./hash.ts";
import { hashTile, type ReadTile, tilePath, tilesOf, tileWidth } from "./tile.ts";

/**
 * Every tile of the tree over `leafHashes`, by its path as a tile server has them. For tests and for trees that are small enough: 32
 * bytes a leaf and a little more.
 */
export function tilesInMemory(leafHashes: readonly Uint8Array[]): Map<string, Uint8Array> {
  const tiles = new Map<string, Uint8Array>();
  const levels: (readonly Uint8Array[])[] = [leafHashes];
  for (const { level, index, width } of tilesOf(leafHashes.length)) {
    const start = index * tileWidth;
    const bytes = Buffer.concat(levels[level]!.slice(start, start + width), width * hashBytes);
    tiles.set(tilePath({ level, index, width }), bytes);
    if (width === tileWidth) levels[level + 1] = [...(levels[level + 1] ?? []), hashTile(bytes)];
  }
  return tiles;
}

/** Reads from such a map and from nothing else: a tile that the tree does not have rejects. */
export function readFrom(tiles: ReadonlyMap<string, Uint8Array>): ReadTile {
  return async (tile) => {
    const bytes = tiles.get(tilePath(tile));
    if (bytes === undefined) throw new Error(`there is no ${tilePath(tile)}`);
    return bytes;
  };
}
