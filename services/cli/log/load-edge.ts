import { hashBytes, hashLeaf } from "#libs/merkle/hash.ts";
import { tileWidth } from "#libs/merkle/tile.ts";

import { Unverified } from "../verify/fault.ts";
import { isSame } from "../verify/hash-tree.ts";
import type { ReadMirrorFile } from "../verify/mirror-files.ts";
import { readEntries, readTileFile } from "../verify/mirror-tiles.ts";
import type { SignedCheckpoint } from "../verify/read-signed.ts";
import { buildMirror, emptyEdge, type MirrorEdge } from "./mirror-builder.ts";

/**
 * The right edge of the mirror that the checkpoint is over: what it takes to go on. Throws `Unverified` when the files there are not
 * those that were signed; the others are not looked at.
 */
export async function loadEdge(read: ReadMirrorFile, { size, root }: SignedCheckpoint): Promise<MirrorEdge> {
  if (size === 0) return emptyEdge;
  const levels: Uint8Array[][] = [];
  for (let level = 0, hashes = size; hashes > 0; level += 1, hashes = Math.floor(hashes / tileWidth)) {
    const width = hashes % tileWidth;
    const tile = { level, index: Math.floor(hashes / tileWidth), width };
    levels.push(width === 0 ? [] : cut(await readTileFile(read, tile)));
  }
  const [leaves = []] = levels;
  const index = Math.floor(size / tileWidth);
  const entries = leaves.length === 0 ? [] : await readEntries(read, index, leaves.length);
  const wrong = entries.findIndex((entry, at) => !isSame(hashLeaf(entry), leaves[at]!));
  if (wrong !== -1) {
    const leafIndex = index * tileWidth + wrong;
    const what = `The entry at leaf ${leafIndex} of the mirror is not the one whose hash is in its tile.`;
    throw new Unverified({ kind: "inclusion", what, place: { leafIndex } });
  }
  const edge = { size, entries, levels };
  if (isSame(await buildMirror(edge).root(), root)) return edge;
  const what =
    "The tiles of the mirror are not those that its checkpoint was signed over: verify it, or begin a new one.";
  throw new Unverified({ kind: "root", what });
}

/** Entries of full bundles from the edge on, which a run that was killed left: nothing was signed over them that is known here. */
export async function* readLeftovers(read: ReadMirrorFile, { size }: MirrorEdge): AsyncGenerator<Uint8Array> {
  for (let index = Math.floor(size / tileWidth); ; index += 1) {
    const entries = await readEntries(read, index, tileWidth).catch((error: unknown) => {
      if (error instanceof Unverified) return []; // Not there, or of no use: the service has them.
      throw error;
    });
    if (entries.length === 0) return;
    yield* entries.slice(index === Math.floor(size / tileWidth) ? size % tileWidth : 0);
  }
}

function cut(hashes: Uint8Array): Uint8Array[] {
  return Array.from({ length: hashes.length / hashBytes }, (_, at) =>
    hashes.subarray(at * hashBytes, (at + 1) * hashBytes),
  );
}
