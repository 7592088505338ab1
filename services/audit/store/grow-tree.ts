import { hashTile, newTiles, tilePath, tileWidth } from "#libs/merkle/tile.ts";
import { appendLeaves, type Tree } from "#libs/merkle/tree.ts";
import type { NewTile } from "./tiles.ts";
import { TreeDamagedError } from "./tree-damaged.ts";

/** A log's tree, and of its partial tiles what the database was asked for. */
export interface OpenTree {
  readonly tree: Tree;
  /** Leaf hashes from the start of the tree's last, partial tile on: its own, then those of the log that it lacks. May be left out where neither is needed. */
  readonly leaves: readonly Uint8Array[];
  /** By level: roots of that level's full tiles that stand in a partial tile of the level above. May be left out where that one is not filled. */
  readonly roots: ReadonlyMap<number, readonly Uint8Array[]>;
}

export interface GrownTree {
  readonly tree: Tree;
  /** What the growth has filled: level 0 first, and by index in each. */
  readonly tiles: readonly NewTile[];
}

/**
 * The tree with the leaves that it lacks of its log, and then `arriving`. Pure. Throws `TreeDamagedError` when a tile is filled of
 * which not all hashes are there.
 */
export function growTree({ tree, leaves, roots }: OpenTree, arriving: readonly Uint8Array[]): GrownTree {
  const lacking = leaves.slice(tree.size % tileWidth);
  const grown = appendLeaves(tree, [...lacking, ...arriving]);
  const tiles: NewTile[] = [];
  /** The hashes of the level at hand, from the start of the tile that was its last. */
  let level = -1;
  let hashes: readonly Uint8Array[] = [];
  let added: Uint8Array[] = [...leaves, ...arriving];
  for (const tile of newTiles(tree.size, grown.size)) {
    if (tile.level !== level) {
      hashes = [...(roots.get(level) ?? []), ...added];
      added = [];
      level = tile.level;
    }
    const first = Math.floor(tree.size / tileWidth ** (level + 1));
    const start = (tile.index - first) * tileWidth;
    const own = hashes.slice(start, start + tileWidth);
    if (own.length < tileWidth) {
      throw new TreeDamagedError(`${tilePath(tile)} is filled by ${own.length} hashes`);
    }
    const bytes = Buffer.concat(own);
    const root = hashTile(bytes);
    added.push(root);
    tiles.push({ level, index: tile.index, hashes: bytes, root });
  }
  return { tree: grown, tiles };
}
