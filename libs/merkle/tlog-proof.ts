import { decodeBase64, encodeBase64 } from "./base64.ts";
import { readCount } from "./checkpoint.ts";
import { hashBytes } from "./hash.ts";
import { noteBytesMax } from "./signed-note.ts";

/** UTF-8 bytes of a proof: as much as a note may have, its extra data and hashes included. */
export const tlogProofBytesMax = noteBytesMax;
/** Hashes of an inclusion proof: a tree of 2^53 - 1 leaves needs no more. */
const hashesMax = 53;

/** All that one leaf needs to be checked offline, but the leaf and the keys to trust (C2SP tlog-proof, "Format"). */
export interface TlogProof {
  readonly index: number;
  /** The inclusion proof, from the leaf's sibling up to the root's child. */
  readonly hashes: readonly Uint8Array[];
  /** The signed note, as it is. */
  readonly checkpoint: string;
  /** Up to the application; nothing vouches for it. */
  readonly extra?: Uint8Array;
}

const firstLine = "c2sp.org/tlog-proof@v1";

/**
 * The proof as text, for a file with ending `.tlog-proof`. The checkpoint goes in as it is, and is not looked at. Throws a
 * RangeError on an index or a hash that is none, on no checkpoint, on empty extra data (leave it out), and beyond the limits.
 */
export function formatTlogProof({ index, hashes, checkpoint, extra }: TlogProof): string {
  if (!Number.isSafeInteger(index) || index < 0) throw new RangeError(`not the index of a leaf: ${index}`);
  if (hashes.length > hashesMax || hashes.some(({ length }) => length !== hashBytes))
    throw new RangeError(`a proof has at most ${hashesMax} hashes of ${hashBytes} bytes`);
  if (checkpoint === "") throw new RangeError("a proof has a checkpoint");
  if (extra?.length === 0) throw new RangeError("extra data of no bytes is left out");
  const lines = [firstLine, ...(extra ? [`extra ${encodeBase64(extra)}`] : []), `index ${index}`];
  const text = [...lines, ...hashes.map(encodeBase64), "", checkpoint].join("\n");
  if (Buffer.byteLength(text) > tlogProofBytesMax)
    throw new RangeError(`a proof has at most ${tlogProofBytesMax} bytes`);
  return text;
}

/**
 * Takes a proof apart and verifies nothing: open `checkpoint` with `openNote`, read it, and hand its size and root to
 * `verifyInclusion`. Throws a SyntaxError on any text but one that `formatTlogProof` writes.
 */
export function readTlogProof(text: string): TlogProof {
  if (Buffer.byteLength(text) > tlogProofBytesMax)
    throw new SyntaxError(`a proof of more than ${tlogProofBytesMax} bytes`);
  const end = text.indexOf("\n\n");
  if (end === -1) throw new SyntaxError("a proof without an empty line before its checkpoint");
  const checkpoint = text.slice(end + 2);
  if (checkpoint === "") throw new SyntaxError("a proof without a checkpoint");
  const [first, ...lines] = text.slice(0, end).split("\n");
  if (first !== firstLine) throw new SyntaxError(`a proof does not begin with ${firstLine}`);
  const extra = lines[0]?.startsWith("extra ")
    ? readBase64(lines.shift()!.slice("extra ".length))
    : undefined;
  const indexLine = lines.shift() ?? "";
  if (!indexLine.startsWith("index ")) throw new SyntaxError("a proof without its leaf's index");
  const index = readCount(indexLine.slice("index ".length));
  if (lines.length > hashesMax) throw new SyntaxError(`a proof of more than ${hashesMax} hashes`);
  const hashes = lines.map(readBase64);
  if (hashes.some(({ length }) => length !== hashBytes))
    throw new SyntaxError("a proof with a hash not of 32 bytes");
  return { index, hashes, checkpoint, ...(extra && { extra }) };
}

/** At least one byte. */
function readBase64(encoded: string): Uint8Array {
  const bytes = decodeBase64(encoded);
  if (!bytes || bytes.length === 0) throw new SyntaxError("a proof with a line that is not base64");
  return bytes;
}
