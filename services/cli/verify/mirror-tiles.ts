import { decodeEntryBundle, entryBytesMax } from "#libs/merkle/entry-bundle.ts";
import { hashBytes } from "#libs/merkle/hash.ts";
import { noteBytesMax } from "#libs/merkle/signed-note.ts";
import { entriesPath, type Tile, tilePath, tileWidth } from "#libs/merkle/tile.ts";

import { unreadable, Unverified } from "./fault.ts";
import type { ReadMirrorFile } from "./mirror-files.ts";

const bundleBytesMax = tileWidth * (entryBytesMax + 2);

/** The signed checkpoint of a mirror, as it is. */
export async function readMirrorCheckpoint(read: ReadMirrorFile): Promise<string> {
  const bytes = await read("checkpoint", noteBytesMax);
  if (!bytes) throw unreadable("There is no checkpoint: this is no mirror of a log.");
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw unreadable("The checkpoint is no text in UTF-8.", { cause });
  }
}

/** The hashes of a tile, one after the other. Throws `Unverified` when it is not there or has another length. */
export async function readTileFile(read: ReadMirrorFile, tile: Tile): Promise<Uint8Array> {
  const found = await readAtWidth(
    read,
    tile.width,
    (width) => tilePath({ ...tile, width }),
    tileWidth * hashBytes,
  );
  const { path, bytes, width } = found;
  if (bytes.length !== width * hashBytes) {
    throw unreadable(
      `${path} has ${bytes.length} bytes, and a tile of ${width} hashes has ${width * hashBytes}.`,
    );
  }
  return bytes.subarray(0, tile.width * hashBytes);
}

/** The entries whose hashes are in tile `index` of level 0. Throws `Unverified`: a gap when there are fewer than `wanted`. */
export async function readEntries(
  read: ReadMirrorFile,
  index: number,
  wanted: number,
): Promise<Uint8Array[]> {
  const { path, bytes, width } = await readAtWidth(
    read,
    wanted,
    (at) => entriesPath(index, at),
    bundleBytesMax,
  );
  const entries = decode(bytes, path);
  if (entries.length === width) return entries.slice(0, wanted);
  const leafIndex = index * tileWidth + Math.min(entries.length, width);
  throw new Unverified({
    kind: "gap",
    what: `${path} does not have the entries that its name says.`,
    expected: `${width} entries`,
    found: `${entries.length} entries`,
    place: { leafIndex },
  });
}

/** A partial file may be gone once the full one is there (tlog-tiles, "Partial Tiles"): that one begins with the same. */
async function readAtWidth(
  read: ReadMirrorFile,
  wanted: number,
  pathAt: (width: number) => string,
  bytesMax: number,
): Promise<{ path: string; width: number; bytes: Uint8Array }> {
  for (const width of new Set([wanted, tileWidth])) {
    const path = pathAt(width);
    const bytes = await read(path, bytesMax);
    if (bytes) return { path, width, bytes };
  }
  throw unreadable(`${pathAt(wanted)} is not there: the mirror is not whole.`);
}

function decode(bytes: Uint8Array, path: string): Uint8Array[] {
  try {
    return decodeEntryBundle(bytes);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw unreadable(`${path} is no bundle of entries: ${message}.`, { cause });
  }
}
