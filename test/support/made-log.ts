import { createHash, generateKeyPairSync } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { encodeBase64 } from "#libs/merkle/base64.ts";
import { formatCheckpoint } from "#libs/merkle/checkpoint.ts";
import { encodeEntryBundle } from "#libs/merkle/entry-bundle.ts";
import { hashLeaf } from "#libs/merkle/hash.ts";
import { createNoteSigner, type NoteSigner, signNote } from "#libs/merkle/signed-note.ts";
import { entriesPath, tilePath, tilesOf } from "#libs/merkle/tile.ts";
import { readFrom, tilesInMemory } from "#libs/merkle/tiles-in-memory.ts";
import { appendLeaves, emptyTree, rootOf } from "#libs/merkle/tree.ts";

/** The log of `acme` in these tests. */
export const madeOrigin = "log.example/acme";

/** A key of the log, a new one each time. */
export function makeSigner(origin = madeOrigin): NoteSigner {
  return createNoteSigner(origin, generateKeyPairSync("ed25519").privateKey);
}

/** The signed checkpoint over these entries. */
export function signLog(entries: readonly Uint8Array[], signer: NoteSigner): string {
  const tree = appendLeaves(
    emptyTree,
    entries.map((entry) => hashLeaf(entry)),
  );
  return signNote(formatCheckpoint({ origin: signer.name, size: tree.size, root: rootOf(tree) }), [signer]);
}

/** One line an entry, without the checkpoint. */
export function toEventLines(entries: readonly Uint8Array[]): string[] {
  return entries.map((entry, leafIndex) => JSON.stringify({ leafIndex, event: encodeBase64(entry) }));
}

export function toCheckpointLine(checkpoint: string): string {
  return JSON.stringify({ checkpoint });
}

/** An export as the service writes one. */
export function toExport(entries: readonly Uint8Array[], signer: NoteSigner): string {
  return [...toEventLines(entries), toCheckpointLine(signLog(entries, signer)), ""].join("\n");
}

/** A mirror's files by their paths. */
export async function toMirror(
  entries: readonly Uint8Array[],
  signer: NoteSigner,
): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>([["checkpoint", Buffer.from(signLog(entries, signer))]]);
  const readTile = readFrom(tilesInMemory(entries.map((entry) => hashLeaf(entry))));
  for (const tile of tilesOf(entries.length)) {
    files.set(tilePath(tile), await readTile(tile));
    const { level, index, width } = tile;
    if (level !== 0) continue;
    files.set(entriesPath(index, width), encodeEntryBundle(entries.slice(index * 256, index * 256 + width)));
  }
  return files;
}

export async function writeMirror(folder: string, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  for (const [path, bytes] of files) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), bytes);
  }
}

export function sha256(...parts: readonly (string | Uint8Array)[]): Uint8Array {
  const digest = createHash("sha256");
  for (const part of parts) digest.update(part);
  return digest.digest();
}
