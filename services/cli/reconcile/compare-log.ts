import { createHash } from "node:crypto";

import { openServiceLog } from "../log/open-service-log.ts";
import { judgeExport } from "../verify/judge-export.ts";
import { decodeEvent, toLoggedEvent } from "../verify/read-event.ts";
import type { ExportLine } from "../verify/read-export.ts";
import type { LogKeys, SignedCheckpoint } from "../verify/read-signed.ts";
import { reconciledSource, statementSource, statementSubject } from "../verify/rules-reconciliation.ts";
import type { Sides } from "./compare-sides.ts";
import { readEntries } from "./read-sides.ts";
import type { SidesLedger } from "./sides-ledger.ts";
import { readLogSize, untilSealed } from "./until-sealed.ts";

/** A log that was verified and compared. */
export interface ComparedLog {
  readonly checkpoint: SignedCheckpoint;
  readonly entryCount: number;
  readonly entriesDigest: Uint8Array;
  /** The last one that is among its leaves. */
  readonly lastStatement: LastStatement | undefined;
}

export interface LastStatement {
  readonly eventId: string;
  readonly sequence: bigint;
  readonly digest: Uint8Array;
}

export interface LogSides extends Pick<Sides, "admin" | "audit" | "onFinding"> {
  readonly keys: LogKeys;
  /** Has all entries, as they were read before. */
  readonly ledger: SidesLedger;
  /** Told after each event. */
  readonly onEvent: () => void;
}

/**
 * Compares the entries with the tenant's whole signed log, event by event; `undefined` when they differ, which is reported. The log is
 * verified as `caseflow verify` does; throws `Unverified` when it does not hold, and `Failure` when it is not sealed in time.
 *
 * What was delivered before the entries were read is in the log by now, and sealed before it is exported: so an entry that did not
 * wait then is among the leaves. A leaf without an entry is of one that was written since, and has it by now.
 */
export async function compareLog(sides: LogSides): Promise<ComparedLog | undefined> {
  const { admin, audit, keys, ledger, onFinding } = sides;
  await untilSealed(audit, await readLogSize(audit));
  ledger.clearLeaves();
  const digest = createHash("sha256");
  let entryCount = 0;
  let lastStatement: LastStatement | undefined;

  async function* follow(lines: AsyncIterable<ExportLine>): AsyncGenerator<ExportLine> {
    for await (const line of lines) {
      if (line.kind === "event") take(line.leafIndex, line.bytes);
      yield line;
    }
  }

  function take(leafIndex: number, bytes: Uint8Array): void {
    const event = decodeEvent(bytes);
    if (!event?.actor || !event.occurredAt || !event.recordedAt) return; // The verifier refuses it.
    const linkDigest = Buffer.from(toLoggedEvent(leafIndex, event, bytes).linkDigest, "hex");
    const { source, subject, subjectSequence: sequence, eventId } = event;
    if (source === statementSource && subject === statementSubject) {
      lastStatement = { eventId, sequence, digest: linkDigest };
    }
    if (source !== reconciledSource) return;
    ledger.addLeaf({ subject, sequence: Number(sequence), eventId, digest: linkDigest });
    digest.update(linkDigest);
    entryCount += 1;
  }

  const verdict = await judgeExport(follow(openServiceLog(audit).exportFrom(0)), {
    keys,
    onEntry: sides.onEvent,
  });
  for (const subject of ledger.subjectsWithoutEntries()) {
    for await (const entry of readEntries(admin, subject)) ledger.addLaterEntries([entry]);
  }
  let agrees = true;
  for (const finding of ledger.findings()) {
    agrees = false;
    await onFinding(finding);
  }
  if (!agrees) return undefined;
  return { checkpoint: verdict.checkpoint, entryCount, entriesDigest: digest.digest(), lastStatement };
}
