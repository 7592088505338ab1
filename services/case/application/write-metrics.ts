import { metrics } from "@opentelemetry/api";

/** What a write adds to the record. */
export interface NewEntry {
  readonly action: string;
  /** Of a case, from state to state; absent for policies and for acts on delivery. */
  readonly transition?: { readonly from: string | undefined; readonly to: string };
}

/**
 * How an attempt to write ended: `raced`, somebody was faster and it looks again; `unknown`, the connection died during the commit;
 * `failed`, nothing was written.
 */
export type WriteEnd = "committed" | "raced" | "unknown" | "failed";

export interface WriteMetrics {
  ended(entry: NewEntry, end: WriteEnd): void;
  /** The rules refused a command on a case in this state. */
  refused(from: string | undefined): void;
  /** A write met another version than it went on from, or than its caller named. */
  conflict(): void;
}

/** Instead of a state, where there was no case before, or where there is none because of a refusal. */
const noState = "none";

/** Counts what becomes of writes. A replay is none. */
export function createWriteMetrics(): WriteMetrics {
  const meter = metrics.getMeter("caseflow.case");
  const transitions = meter.createCounter("case.transition", {
    description: "Transitions of cases, by states and by what became of them; what was refused went nowhere",
  });
  const entries = meter.createCounter("audit.write", {
    description: "Attempts to write an audit entry, by action and by what became of them",
  });
  const conflicts = meter.createCounter("version.conflicts", {
    description: "Writes that met another version than they named, or lost a race and looked again",
  });
  conflicts.add(0); // There from the start, so that a first one shows as a rise.
  return {
    ended({ action, transition }, result) {
      entries.add(1, { action, result });
      if (transition) transitions.add(1, { from: transition.from ?? noState, to: transition.to, result });
    },
    refused: (from) => transitions.add(1, { from: from ?? noState, to: noState, result: "refused" }),
    conflict: () => conflicts.add(1),
  };
}
