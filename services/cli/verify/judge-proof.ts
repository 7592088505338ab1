import { hashLeaf } from "#libs/merkle/hash.ts";
import type { Reconciliation } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { readTlogProof, type TlogProof } from "#libs/merkle/tlog-proof.ts";
import { verifyInclusion } from "#libs/merkle/verify-proof.ts";

import { type Place, Unverified, unreadable } from "./fault.ts";
import { notAnEvent, placeOf } from "./judge-events.ts";
import { decodeEvent, findFieldBreach, findTenantBreach, toLoggedEvent } from "./read-event.ts";
import { findStatementBreach } from "./rules-reconciliation.ts";
import { type LogKeys, readSigned, type SignedCheckpoint, tenantOf } from "./read-signed.ts";

/** First line of a proof file (C2SP tlog-proof). */
export const proofFirstLine = "c2sp.org/tlog-proof@v1";

export interface ProofVerdict {
  readonly place: Place;
  /** Of a statement of `caseflow reconcile`: what it states. */
  readonly reconciliation: Reconciliation | undefined;
  readonly checkpoint: SignedCheckpoint;
}

/**
 * Judges the proof of one event, whose bytes are the proof's extra data: they are proved as soon as their hash leads to the root.
 * Throws `Unverified`.
 */
export function judgeProof(text: string, keys: LogKeys): ProofVerdict {
  const { index, hashes, checkpoint: note, extra } = read(text);
  const checkpoint = readSigned(note, keys, "The proof's checkpoint");
  if (!extra) throw unreadable("The proof has no event in it: it cannot be told what it proves.");
  const { size, root } = checkpoint;
  if (!verifyInclusion({ leafHash: hashLeaf(extra), index, size, proof: hashes, root }))
    throw notIncluded(index);
  const event = decodeEvent(extra);
  if (!event) throw new Unverified({ kind: "rule", ...notAnEvent, place: { leafIndex: index } });
  const place = placeOf(index, event);
  const breach =
    findFieldBreach(event, extra) ??
    findTenantBreach(event, tenantOf(keys)) ??
    findStatementBreach(toLoggedEvent(index, event, extra));
  if (breach) throw new Unverified({ kind: "rule", ...breach, place });
  return { place, reconciliation: event.reconciliation, checkpoint };
}

export function notIncluded(leafIndex: number): Unverified {
  return new Unverified({
    kind: "inclusion",
    what: `The event is not the one that stands at leaf ${leafIndex} of the log that was signed.`,
    place: { leafIndex },
  });
}

function read(text: string): TlogProof {
  try {
    return readTlogProof(text);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw unreadable(`This is no proof: ${message}.`, { cause });
  }
}
