import { encodeEntryBundle } from "#libs/merkle/entry-bundle.ts";
import { hashLeaf } from "#libs/merkle/hash.ts";
import { rootAt } from "#libs/merkle/prove.ts";
import { entriesPath, hashTile, type Tile, tilePath, tileWidth } from "#libs/merkle/tile.ts";

/** The right edge of a mirror: what is not in full tiles yet. */
export interface MirrorEdge {
  /** Of the log. */
  readonly size: number;
  /** The entries of the partial bundle; fewer than a tile's. */
  readonly entries: readonly Uint8Array[];
  /** Of each level the hashes of its partial tile; fewer than a tile's. */
  readonly levels: readonly (readonly Uint8Array[])[];
}

export const emptyEdge: MirrorEdge = { size: 0, entries: [], levels: [] };

export interface MirrorFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

export interface MirrorBuilder {
  readonly size: number;
  /** Takes the next entry; returns the files that it completes, which never change any more. Hashes are of its own making. */
  add(entry: Uint8Array): readonly MirrorFile[];
  /** The files at the right edge, as the log stands. */
  partialFiles(): readonly MirrorFile[];
  root(): Promise<Uint8Array>;
}

/** Makes the files of a mirror (C2SP tlog-tiles) out of entries, from an edge on. */
export function buildMirror(edge: MirrorEdge): MirrorBuilder {
  let size = edge.size;
  let entries = [...edge.entries];
  const levels = edge.levels.map((hashes) => [...hashes]);

  /** The tile of a level that its last hash is in. */
  function lastTile(level: number): Tile {
    const width = levels[level]?.length ?? 0;
    const hashesBefore = Math.floor(size / tileWidth ** level) - width;
    return { level, index: hashesBefore / tileWidth, width };
  }

  function push(level: number, hash: Uint8Array): MirrorFile[] {
    const hashes = (levels[level] ??= []);
    hashes.push(hash);
    if (hashes.length < tileWidth) return [];
    const bytes = Buffer.concat(hashes);
    const file = { path: tilePath(lastTile(level)), bytes };
    levels[level] = [];
    return [file, ...push(level + 1, hashTile(bytes))];
  }

  return {
    get size() {
      return size;
    },
    add(entry) {
      entries.push(entry);
      size += 1;
      const tiles = push(0, hashLeaf(entry));
      if (entries.length < tileWidth) return tiles;
      const bundle = {
        path: entriesPath(size / tileWidth - 1, tileWidth),
        bytes: encodeEntryBundle(entries),
      };
      entries = [];
      return [bundle, ...tiles];
    },
    partialFiles() {
      const tiles = levels.flatMap((hashes, level) =>
        hashes.length === 0 ? [] : [{ path: tilePath(lastTile(level)), bytes: Buffer.concat(hashes) }],
      );
      if (entries.length === 0) return tiles;
      const path = entriesPath(lastTile(0).index, entries.length);
      return [{ path, bytes: encodeEntryBundle(entries) }, ...tiles];
    },
    // What a root is made of, at a log's own size, is all at the right edge.
    root: () => rootAt(size, async ({ level }) => Buffer.concat(levels[level] ?? [])),
  };
}
