import { hashLeaf } from "#libs/merkle/hash.ts";

import { type Fault, unreadable, Unverified } from "./fault.ts";
import { growTree } from "./hash-tree.ts";
import { createEventJudge } from "./judge-events.ts";
import { conclude, findCountGap, findLeafGap, type JudgeOptions, type Verdict } from "./judge-log.ts";
import type { ExportLine } from "./read-export.ts";
import { readSigned, type SignedCheckpoint, tenantOf } from "./read-signed.ts";

/** Judges an export of a whole log, which is read once. Throws `Unverified`. */
export async function judgeExport(lines: AsyncIterable<ExportLine>, options: JudgeOptions): Promise<Verdict> {
  const { keys, kept, onEntry } = options;
  using judge = createEventJudge(tenantOf(keys), { whole: true });
  const tree = growTree(kept?.size);
  let gap: Fault | undefined;
  let signed: SignedCheckpoint | undefined;
  for await (const line of lines) {
    if (line.kind === "checkpoint") {
      signed = readSigned(line.note, keys, "The checkpoint");
      continue;
    }
    if (line.proof)
      throw unreadable(`The event at leaf ${line.leafIndex} has a proof, and others have none.`);
    onEntry?.();
    gap ??= findLeafGap(tree.size, line.leafIndex);
    if (gap) continue; // The rest is read for the checkpoint alone: its signature is judged first.
    tree.add(hashLeaf(line.bytes));
    judge.add(line.leafIndex, line.bytes);
  }
  if (!signed) throw new Error("unreachable: an export without a checkpoint cannot be read");
  gap ??= findCountGap(signed, tree.size);
  if (gap) throw new Unverified(gap);
  const evidence = {
    signed,
    eventCount: tree.size,
    root: tree.root(),
    rootAtKept: tree.watchedRoot,
    findings: judge.finish(),
  };
  return conclude(evidence, options);
}
