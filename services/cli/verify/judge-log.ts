/*
 * Judges a whole log, in this order: can it be read; is its checkpoint signed by the log's key; does the file have every leaf;
 * do the leaves give the root that was signed; does the log go on from the checkpoint kept from the last time; do a mirror's tiles
 * fit its entries; and only then what the events say. So the fault that is told is of what everything behind it rests on.
 */
import { encodeBase64 } from "#libs/merkle/base64.ts";

import { type Fault, Unverified } from "./fault.ts";
import { isSame } from "./hash-tree.ts";
import type { Findings } from "./judge-events.ts";
import type { LogKeys, SignedCheckpoint } from "./read-signed.ts";

export interface JudgeOptions {
  readonly keys: LogKeys;
  /** What the last good verdict was about. */
  readonly kept?: SignedCheckpoint | undefined;
  /** Called for each entry that was read. */
  readonly onEntry?: () => void;
}

export interface Verdict {
  readonly eventCount: number;
  readonly subjectCount: number;
  /** Events that stand in for others, which were given up. */
  readonly tombstoneCount: number;
  readonly checkpoint: SignedCheckpoint;
}

/** What was found of a log, as far as it decides. */
export interface Evidence {
  readonly signed: SignedCheckpoint;
  readonly eventCount: number;
  /** Over the entries. */
  readonly root: Uint8Array;
  /** Over the entries up to the size of the kept checkpoint; `undefined` when there are fewer. */
  readonly rootAtKept: Uint8Array | undefined;
  /** Of a mirror: the first place where tiles and entries differ. */
  readonly misfit?: Fault | undefined;
  readonly findings: Findings;
}

/** Throws `Unverified` with the first fault in order. */
export function conclude(evidence: Evidence, { kept }: JudgeOptions): Verdict {
  const { signed, eventCount, findings } = evidence;
  const fork = kept && findForkFault(signed, kept, evidence.rootAtKept);
  const fault = findRootFault(evidence) ?? fork ?? evidence.misfit ?? findings.first;
  if (fault) throw new Unverified(fault);
  const { subjectCount, tombstoneCount } = findings;
  return { eventCount, subjectCount, tombstoneCount, checkpoint: signed };
}

function findRootFault({ signed, root, misfit, findings }: Evidence): Fault | undefined {
  if (isSame(root, signed.root)) return undefined;
  const likely = [misfit, findings.first, findings.firstBreak].filter((one) => one !== undefined);
  return {
    kind: "root",
    what: `The ${signed.size} entries are not those that the checkpoint was signed over.`,
    expected: `root ${encodeBase64(signed.root)}`,
    found: `root ${encodeBase64(root)}`,
    likely: [...new Set(likely)],
  };
}

/** The fault when a log does not go on from the checkpoint kept of it; `rootAtKept` is the log's root at that size, if it has one. */
export function findForkFault(
  signed: SignedCheckpoint,
  kept: SignedCheckpoint,
  rootAtKept: Uint8Array | undefined,
): Fault | undefined {
  if (signed.size < kept.size) {
    return {
      kind: "fork",
      what: "The log is shorter than when it was last verified.",
      expected: `at least ${kept.size} events`,
      found: `${signed.size} events`,
    };
  }
  if (rootAtKept && isSame(rootAtKept, kept.root)) return undefined;
  return {
    kind: "fork",
    what: `The first ${kept.size} events are not those of the last verification: the log was rewritten.`,
    expected: `root ${encodeBase64(kept.root)} at size ${kept.size}`,
    found: rootAtKept ? `root ${encodeBase64(rootAtKept)}` : "no proof that the log goes on from there",
  };
}

/** The file's leaves must be 0, 1, 2 and so on: the fault when the next one is another. */
export function findLeafGap(expected: number, found: number): Fault | undefined {
  if (found === expected) return undefined;
  const what =
    found > expected
      ? `Leaf ${expected} of the log is missing here.`
      : "A leaf of the log stands here in a place that is another's.";
  return {
    kind: "gap",
    what,
    expected: `leaf ${expected}`,
    found: `leaf ${found}`,
    place: { leafIndex: expected },
  };
}

/** The fault when the log has not as many entries as its checkpoint says. */
export function findCountGap(signed: SignedCheckpoint, eventCount: number): Fault | undefined {
  if (eventCount === signed.size) return undefined;
  return {
    kind: "gap",
    what: "The log does not have the number of events that its checkpoint was signed over.",
    expected: `${signed.size} events`,
    found: `${eventCount} events`,
    place: { leafIndex: Math.min(eventCount, signed.size) },
  };
}
