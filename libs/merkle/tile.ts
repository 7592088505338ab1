/**
 * Tiles: the form in which C2SP tlog-tiles ("Merkle Tree") stores and serves a tree. A tile of level 0 holds 256 leaf hashes;
 * one of level n + 1 holds the roots of 256 full tiles of level n. The last tile of a level may be partial. A full tile
 * never changes, and the hashes between two levels are computed from the lower one.
 */
import { hashBytes, hashNode } from "./hash.ts";
import { checkSize } from "./tree.ts";

/** Levels of the tree that one tile spans. */
export const tileHeight = 8;
/** Hashes in a full tile. */
export const tileWidth = 256;

export interface Tile {
  /** From 0, the leaf hashes; at most 6, as trees end at 2^53 - 1 leaves. */
  readonly level: number;
  /** Among the tiles of its level, from 0. */
  readonly index: number;
  /** Hashes in it, 1 to 256; below 256 it is partial. */
  readonly width: number;
}

/** Gives a tile's hashes one after the other, `width` × 32 bytes. Rejects when it cannot; never gives fewer. */
export type ReadTile = (tile: Tile) => Promise<Uint8Array>;

/** Where tlog-tiles serves a tile, below the log's prefix, as `tile/0/x001/x234/067.p/3`. RangeError on what is no tile. */
export function tilePath({ level, index, width }: Tile): string {
  if (!Number.isSafeInteger(level) || level < 0 || level > 63)
    throw new RangeError(`not a level of tiles: ${level}`);
  return `tile/${level}/${numberPath(index, width)}`;
}

/** Where tlog-tiles ("Log entries") serves the entries whose leaf hashes are in tile `index` of level 0. */
export function entriesPath(index: number, width: number): string {
  return `tile/entries/${numberPath(index, width)}`;
}

/** Every tile of a tree of this size, level 0 first and by index in each; of each level the last one may be partial. */
export function* tilesOf(size: number): Iterable<Tile> {
  checkSize(size);
  for (let level = 0, hashes = size; hashes > 0; level += 1, hashes = Math.floor(hashes / tileWidth)) {
    for (let index = 0; index * tileWidth < hashes; index += 1) {
      yield { level, index, width: Math.min(tileWidth, hashes - index * tileWidth) };
    }
  }
}

/**
 * The full tiles that a growth from `from` to `to` leaves completes, level 0 first and by index in each: the tiles below one
 * are full before it comes. RangeError unless from ≤ to.
 */
export function* newTiles(from: number, to: number): Iterable<Tile> {
  checkSize(from);
  checkSize(to);
  if (from > to) throw new RangeError(`a tree does not shrink from ${from} to ${to} leaves`);
  let [before, after] = [from, to];
  for (let level = 0; after > 0; level += 1) {
    before = Math.floor(before / tileWidth);
    after = Math.floor(after / tileWidth);
    for (let index = before; index < after; index += 1) yield { level, index, width: tileWidth };
  }
}

/** Root of a full tile, which is its entry in the tile above. RangeError unless there are 256 × 32 bytes. */
export function hashTile(hashes: Uint8Array): Uint8Array {
  if (hashes.length !== tileWidth * hashBytes) throw new RangeError("only a full tile has a root");
  return hashPerfect(hashes);
}

/** Root over hashes that stand one after the other; their number is a power of two. */
export function hashPerfect(hashes: Uint8Array): Uint8Array {
  if (hashes.length === hashBytes) return hashes;
  const half = hashes.length / 2;
  return hashNode(hashPerfect(hashes.subarray(0, half)), hashPerfect(hashes.subarray(half)));
}

/** Three digits an element, all but the last behind an `x`, so that no file's name is also a folder's. */
function numberPath(index: number, width: number): string {
  if (!Number.isSafeInteger(index) || index < 0) throw new RangeError(`not the index of a tile: ${index}`);
  if (!Number.isSafeInteger(width) || width < 1 || width > tileWidth)
    throw new RangeError(`not the width of a tile: ${width}`);
  const digits = String(index);
  const elements = digits.padStart(Math.ceil(digits.length / 3) * 3, "0").match(/.{3}/g)!;
  const path = elements.map((element, at) => (at < elements.length - 1 ? `x${element}` : element)).join("/");
  return width < tileWidth ? `${path}.p/${width}` : path;
}
