import { type Checkpoint, readCheckpoint } from "#libs/merkle/checkpoint.ts";
import { NoteError, type NoteVerifier, openNote } from "#libs/merkle/signed-note.ts";

import { quote, Unverified, unreadable } from "./fault.ts";

/** A checkpoint that a known key signed. */
export interface SignedCheckpoint extends Checkpoint {
  readonly note: string;
}

/** The keys of one log, which all have its origin for a name. */
export interface LogKeys {
  readonly origin: string;
  readonly verifiers: readonly NoteVerifier[];
}

/** Whose log it is: the last part of the origin. */
export function tenantOf({ origin }: { readonly origin: string }): string {
  return origin.slice(origin.lastIndexOf("/") + 1);
}

/**
 * Opens a signed checkpoint; `name` is what it is called to people. Throws `Unverified`: unreadable when it is no checkpoint,
 * signature when none of the keys signed it, or it is of another log than they are.
 */
export function readSigned(note: string, { origin, verifiers }: LogKeys, name: string): SignedCheckpoint {
  const checkpoint = parse(open(note, verifiers, name), name);
  if (checkpoint.origin !== origin) {
    throw new Unverified({
      kind: "signature",
      what: `${name} is of another log than the key that signed it.`,
      expected: quote(origin),
      found: quote(checkpoint.origin),
    });
  }
  return { ...checkpoint, note };
}

function open(note: string, verifiers: readonly NoteVerifier[], name: string): string {
  try {
    return openNote(note, verifiers).text;
  } catch (cause) {
    if (!(cause instanceof NoteError)) throw cause;
    if (cause.why === "malformed")
      throw unreadable(`${name} is no signed note: ${cause.message}.`, { cause });
    const expected = verifiers.map(({ vkey }) => quote(vkey)).join(", ");
    const what =
      cause.why === "unsigned"
        ? `${name} is not signed by any of the keys that were given.`
        : `${name} was changed after it was signed, or its signature was forged.`;
    throw new Unverified({ kind: "signature", what, expected, found: quote(cause.message) }, { cause });
  }
}

function parse(text: string, name: string): Checkpoint {
  try {
    return readCheckpoint(text);
  } catch (cause) {
    throw unreadable(`${name} is signed, and is no checkpoint of a log.`, { cause });
  }
}
