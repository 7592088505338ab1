import { hashBytes, hashLeaf } from "#libs/merkle/hash.ts";
import { hashTile, type Tile, tilePath, tileWidth } from "#libs/merkle/tile.ts";

import type { Fault } from "./fault.ts";
import { growTree, isSame } from "./hash-tree.ts";
import { createEventJudge } from "./judge-events.ts";
import { conclude, type JudgeOptions, type Verdict } from "./judge-log.ts";
import type { ReadMirrorFile } from "./mirror-files.ts";
import { readEntries, readMirrorCheckpoint, readTileFile } from "./mirror-tiles.ts";
import { readSigned, tenantOf } from "./read-signed.ts";

/** Bundles and tiles that are asked for before they are needed: a far server answers late. */
const aheadMax = 4;

/**
 * Judges a mirror (C2SP tlog-tiles): its entries as any log's, and every tile against hashes of its own making. Where entries
 * and tiles differ, the root tells which of the two the log signed. Throws `Unverified`.
 */
export async function judgeMirror(read: ReadMirrorFile, options: JudgeOptions): Promise<Verdict> {
  const { keys, kept, onEntry } = options;
  const signed = readSigned(await readMirrorCheckpoint(read), keys, "The checkpoint");
  using judge = createEventJudge(tenantOf(keys), { whole: true });
  const ofEntries = growTree(kept?.size);
  const ofTiles = growTree(kept?.size);
  const layers = createLayers(read);
  for await (const { entries, tile } of readBundles(read, signed.size)) {
    const hashes = entries.map((entry) => hashLeaf(entry));
    for (const [at, entry] of entries.entries()) {
      onEntry?.();
      judge.add(ofEntries.size + at, entry);
    }
    for (const hash of hashes) ofEntries.add(hash);
    for (let at = 0; at < tile.length; at += hashBytes) ofTiles.add(tile.subarray(at, at + hashBytes));
    await layers.add(hashes, tile);
  }
  await layers.finish();
  const misfit = layers.misfit();
  const tilesHold = isSame(ofTiles.root(), signed.root);
  // The entries are at fault, each by its name, where the tiles are what was signed.
  const tree = tilesHold ? ofTiles : ofEntries;
  const evidence = {
    signed,
    eventCount: ofEntries.size,
    root: tree.root(),
    rootAtKept: tree.watchedRoot,
    misfit: misfit && toFault(misfit, tilesHold),
    findings: judge.finish(),
  };
  return conclude(evidence, options);
}

interface Misfit {
  readonly tile: Tile;
  /** Of the hash within the tile. */
  readonly position: number;
}

async function* readBundles(read: ReadMirrorFile, size: number) {
  const count = Math.ceil(size / tileWidth);
  const fetchOne = async (index: number) => {
    const width = Math.min(tileWidth, size - index * tileWidth);
    const entries = await readEntries(read, index, width);
    return { entries, tile: await readTileFile(read, { level: 0, index, width }) };
  };
  const under: ReturnType<typeof fetchOne>[] = [];
  for (let index = 0; index < count; index += 1) {
    for (let next = index + under.length; next < Math.min(count, index + aheadMax); next += 1) {
      const fetching = fetchOne(next);
      fetching.catch(() => undefined); // Told when it is its turn.
      under.push(fetching);
    }
    yield await under.shift()!; // The loop above put it there.
  }
}

/** Follows every level of tiles: what was computed of the entries is compared with what the mirror has. */
function createLayers(read: ReadMirrorFile) {
  /** Of each level the hashes of the tile that is being filled, and its index. */
  const levels: { index: number; hashes: Uint8Array[] }[] = [];
  let first: Misfit | undefined;

  function compare(tile: Tile, computed: readonly Uint8Array[], stored: Uint8Array): void {
    const position = computed.findIndex(
      (hash, at) => !isSame(hash, stored.subarray(at * hashBytes, (at + 1) * hashBytes)),
    );
    if (position !== -1) first ??= { tile, position };
  }

  async function add(level: number, hashes: readonly Uint8Array[], stored?: Uint8Array): Promise<void> {
    const layer = (levels[level] ??= { index: 0, hashes: [] });
    layer.hashes.push(...hashes);
    if (layer.hashes.length === tileWidth) await settle(level, stored);
    else if (stored) compare(toTile(level), layer.hashes, stored);
  }

  async function settle(level: number, stored?: Uint8Array): Promise<void> {
    const layer = levels[level]!; // Made by `add`.
    const tile = toTile(level);
    compare(tile, layer.hashes, stored ?? (await readTileFile(read, tile)));
    const full = layer.hashes.length === tileWidth ? hashTile(Buffer.concat(layer.hashes)) : undefined;
    levels[level] = { index: layer.index + 1, hashes: [] };
    if (full) await add(level + 1, [full]);
  }

  function toTile(level: number): Tile {
    const { index, hashes } = levels[level]!; // Made by `add`.
    return { level, index, width: hashes.length };
  }

  return {
    add: (hashes: readonly Uint8Array[], stored: Uint8Array) => add(0, hashes, stored),
    /** The partial tiles at the right edge; that of level 0 was compared when it came. */
    async finish(): Promise<void> {
      for (let level = 1; level < levels.length; level += 1) {
        if (levels[level]!.hashes.length > 0) await settle(level);
      }
    },
    misfit: () => first,
  };
}

function toFault({ tile, position }: Misfit, tilesHold: boolean): Fault {
  const path = tilePath(tile);
  const leaves = tileWidth ** tile.level;
  const leafIndex = (tile.index * tileWidth + position) * leaves;
  const place = { leafIndex };
  if (tile.level === 0 && tilesHold) {
    const what = `The entry at leaf ${leafIndex} is not the one that the log signed: its hash is not in ${path}.`;
    return { kind: "inclusion", what, place };
  }
  const range = leaves === 1 ? `leaf ${leafIndex}` : `leaves ${leafIndex} to ${leafIndex + leaves - 1}`;
  const what = `${path} has a hash that is not of the entries: no proof made from it holds for ${range}.`;
  return { kind: "inclusion", what, place };
}
