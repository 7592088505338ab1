import { createWriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

import type { Applied } from "./apply.ts";
import type { ReportLine } from "./staging.ts";

/** Writes the lines of a report to `path`, which is there whole or not at all. */
export async function writeReport(path: string, lines: Iterable<ReportLine>): Promise<void> {
  const draft = `${path}.${process.pid}.tmp`;
  try {
    await pipeline(Readable.from(toText(lines)), createWriteStream(draft, { mode: 0o600 }));
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}

function* toText(lines: Iterable<ReportLine>): Generator<string> {
  for (const line of lines) yield `${JSON.stringify(line)}\n`;
}

/** Counts what became of rows, and keeps one instance of each reason. */
export interface Tally {
  readonly counts: { applied: number; skipped: number; failed: number };
  add(row: number, settled: Pick<Applied, "outcome" | "reason"> & { readonly detail?: string }): void;
  /** A line a reason, the most frequent first; of what failed and what was not to be imported. */
  reasons(): readonly string[];
}

export function createTally(): Tally {
  const counts = { applied: 0, skipped: 0, failed: 0 };
  const byReason = new Map<string, { count: number; readonly instance: string }>();
  return {
    counts,
    add(row, { outcome, reason, detail = "" }) {
      counts[outcome] += 1;
      if (reason === "") return;
      const known = byReason.get(reason) ?? { count: 0, instance: `row ${row}${detail && `: ${detail}`}` };
      known.count += 1;
      byReason.set(reason, known);
    },
    reasons: () =>
      [...byReason]
        .toSorted(([, one], [, other]) => other.count - one.count)
        .map(
          ([reason, { count, instance }]) => `${String(count).padStart(8)}  ${reason}  (first: ${instance})`,
        ),
  };
}
