import { hashLeaf } from "#libs/merkle/hash.ts";
import { verifyInclusion } from "#libs/merkle/verify-proof.ts";

import { type Fault, unreadable, Unverified } from "./fault.ts";
import { createEventJudge } from "./judge-events.ts";
import { findLeafGap, type JudgeOptions, type Verdict } from "./judge-log.ts";
import { notIncluded } from "./judge-proof.ts";
import type { ExportLine } from "./read-export.ts";
import { readSigned, type SignedCheckpoint, tenantOf } from "./read-signed.ts";

type EventLine = Extract<ExportLine, { kind: "event" }>;

/** Events of a proved history: their proofs are kept until the checkpoint, which comes last. */
export const historyEventsMax = 10_000;

/**
 * Judges the history of a subject, each event with a proof of its own, in the order of the log. That the history goes back to
 * its beginning shows in its sequence; that it goes on no further than the last event cannot be proved. Throws `Unverified`.
 */
export async function judgeHistory(
  lines: AsyncIterable<ExportLine>,
  { keys, onEntry }: JudgeOptions,
): Promise<Verdict> {
  using judge = createEventJudge(tenantOf(keys), { whole: false });
  const events: EventLine[] = [];
  let signed: SignedCheckpoint | undefined;
  for await (const line of lines) {
    if (line.kind === "checkpoint") signed = readSigned(line.note, keys, "The checkpoint");
    else events.push(line);
    if (events.length > historyEventsMax)
      throw unreadable(`A history has at most ${historyEventsMax} events.`);
  }
  if (!signed) throw new Error("unreachable: an export without a checkpoint cannot be read");
  const { size, root } = signed;
  let disorder: Fault | undefined;
  let next = 0;
  for (const { leafIndex, bytes, proof } of events) {
    onEntry?.();
    if (!proof) throw unreadable(`The event at leaf ${leafIndex} has no proof, and others have.`);
    if (!verifyInclusion({ leafHash: hashLeaf(bytes), index: leafIndex, size, proof, root }))
      throw notIncluded(leafIndex);
    if (leafIndex < next) disorder ??= findLeafGap(next, leafIndex);
    next = leafIndex + 1;
    judge.add(leafIndex, bytes);
  }
  const { first, subjectCount, tombstoneCount } = judge.finish();
  const fault = disorder ?? first;
  if (fault) throw new Unverified(fault);
  return { eventCount: events.length, subjectCount, tombstoneCount, checkpoint: signed };
}
