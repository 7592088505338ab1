import { readFile } from "node:fs/promises";
import { replaceFile } from "#libs/files/replace-file.ts";
import { noteBytesMax } from "#libs/merkle/signed-note.ts";

import { Failure } from "./failure.ts";
import { unreadable, Unverified } from "./verify/fault.ts";
import { type LogKeys, readSigned, type SignedCheckpoint } from "./verify/read-signed.ts";

/**
 * Reads the checkpoint that a verification kept; `undefined` when there was none yet. A file that is there and no checkpoint of
 * the log is never taken for none: throws `Unverified`.
 */
export async function readKept(path: string, keys: LogKeys): Promise<SignedCheckpoint | undefined> {
  const note = await readFile(path).catch((cause: unknown) => {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return undefined;
    throw unreadable(`${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}.`, {
      cause,
    });
  });
  if (!note) return undefined;
  if (note.length > noteBytesMax) throw unreadable(`${path} is no checkpoint.`);
  try {
    return readSigned(note.toString("utf8"), keys, `What is kept in ${path}`);
  } catch (cause) {
    if (!(cause instanceof Unverified)) throw cause;
    const advice = "give also the key that signed it, or name another file if it is of another log";
    throw unreadable(
      `${cause.fault.what} Without it nothing tells whether the log was rewritten: ${advice}.`,
      { cause },
    );
  }
}

/**
 * Keeps a checkpoint: whatever dies, the file has the old one or the new one. One that another verification kept meanwhile and that
 * is further on stays. Throws `Failure` when the file cannot be written.
 */
export async function keepCheckpoint(
  path: string,
  checkpoint: SignedCheckpoint,
  keys: LogKeys,
): Promise<void> {
  const present = await readKept(path, keys);
  if (present && (present.size > checkpoint.size || present.note === checkpoint.note)) return;
  await replaceFile(path, checkpoint.note, 0o644).catch((cause: unknown) => {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new Failure(`the log is good, and its checkpoint cannot be kept in ${path}: ${message}`, { cause });
  });
}
