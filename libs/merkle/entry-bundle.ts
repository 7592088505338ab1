import { tileWidth } from "./tile.ts";

/** Bytes that one entry may have: its length is written in 16 bits. */
export const entryBytesMax = 65_535;

const lengthBytes = 2;

/**
 * The entries of one tile of level 0, each behind its length as big-endian uint16 (C2SP tlog-tiles, "Log entries"). Throws a
 * RangeError unless there are 1 to 256 entries of at most `entryBytesMax`.
 */
export function encodeEntryBundle(entries: readonly Uint8Array[]): Uint8Array {
  if (entries.length === 0 || entries.length > tileWidth)
    throw new RangeError(`${entries.length} entries in a bundle: 1 to ${tileWidth} go in`);
  const bytes = new Uint8Array(entries.reduce((sum, entry) => sum + lengthBytes + entry.length, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const entry of entries) {
    if (entry.length > entryBytesMax)
      throw new RangeError(`an entry of ${entry.length} bytes: at most ${entryBytesMax}`);
    view.setUint16(at, entry.length);
    bytes.set(entry, at + lengthBytes);
    at += lengthBytes + entry.length;
  }
  return bytes;
}

/**
 * The entries of a bundle, as views into `bytes`. Throws a SyntaxError unless it is 1 to 256 whole entries and nothing behind
 * them. How many there must be, the bundle does not say: compare with the width that was asked for.
 */
export function decodeEntryBundle(bytes: Uint8Array): Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    if (entries.length === tileWidth)
      throw new SyntaxError(`an entry bundle of more than ${tileWidth} entries`);
    const start = at + lengthBytes;
    const end = start <= bytes.length ? start + view.getUint16(at) : Infinity;
    if (end > bytes.length) throw new SyntaxError(`an entry bundle that ends within entry ${entries.length}`);
    entries.push(bytes.subarray(start, end));
    at = end;
  }
  if (entries.length === 0) throw new SyntaxError("an entry bundle without entries");
  return entries;
}
