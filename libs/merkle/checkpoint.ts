import { decodeBase64, encodeBase64 } from "./base64.ts";
import { hashBytes } from "./hash.ts";
import { isNoteText } from "./signed-note.ts";

/** What a log signs: that its first `size` leaves have this root (C2SP tlog-checkpoint, "Note text"). */
export interface Checkpoint {
  /** Which log it is; best its URL without the scheme. Verifiers compare it and take nothing out of it. */
  readonly origin: string;
  readonly size: number;
  readonly root: Uint8Array;
}

/**
 * The text to sign as a note: origin, size and root, a line each. Throws a RangeError on an origin that is no non-empty line, a
 * size that is no count up to 2^53 - 1, and a root that is not 32 bytes.
 */
export function formatCheckpoint({ origin, size, root }: Checkpoint): string {
  if (!isOrigin(origin)) throw new RangeError(`not the origin of a log: ${JSON.stringify(origin)}`);
  if (!Number.isSafeInteger(size) || size < 0) throw new RangeError(`not the size of a tree: ${size}`);
  if (root.length !== hashBytes) throw new RangeError(`a root of ${root.length} bytes`);
  return `${origin}\n${size}\n${encodeBase64(root)}\n`;
}

/**
 * Reads the text of a note that was opened before; by itself it proves nothing. Extension lines behind the third are passed
 * over, as the specification says. Throws a SyntaxError on anything else but the form that `formatCheckpoint` writes.
 */
export function readCheckpoint(text: string): Checkpoint {
  if (!isNoteText(text) || !text.endsWith("\n")) throw new SyntaxError("a checkpoint is lines of text");
  const lines = text.slice(0, -1).split("\n");
  if (lines.includes("")) throw new SyntaxError("a checkpoint has no empty line");
  const [origin = "", size = "", encoded = ""] = lines;
  if (lines.length < 3) throw new SyntaxError("a checkpoint has an origin, a size and a root");
  const root = decodeBase64(encoded);
  if (root?.length !== hashBytes) throw new SyntaxError("a checkpoint's root is not 32 bytes in base64");
  return { origin, size: readCount(size), root };
}

/** Decimal digits without leading zeros; throws a SyntaxError on anything else and on counts above 2^53 - 1. */
export function readCount(digits: string): number {
  const count = /^(?:0|[1-9][0-9]{0,15})$/.test(digits) ? Number(digits) : NaN;
  if (!Number.isSafeInteger(count))
    throw new SyntaxError(`not a count up to 2^53 - 1: ${JSON.stringify(digits.slice(0, 20))}`);
  return count;
}

const isOrigin = (origin: string) => origin !== "" && !origin.includes("\n") && isNoteText(origin);
