import { isBlank, refuse, type Refused } from "./decision.ts";

/** An event whose delivery was given up, as far as it matters to what may be done about it. */
export interface DeadLetter {
  /** Why it was given up: the audit service's reason, or the relay's own. */
  readonly reason: string;
  /** Whether a tombstone was made for it before. */
  readonly hasTombstone: boolean;
}

/**
 * By these the audit service says that its history of the subject is another than ours. A tombstone stands at the event's sequence,
 * behind its predecessor: it would be refused as the event was.
 */
const forkReasons: ReadonlySet<string> = new Set(["SEQUENCE_REUSED", "CHAIN_BROKEN"]);

/**
 * Decides whether a tombstone may take the event's place. Where one was made before, it may always be sent again: what is at the
 * sequence may be that tombstone itself, stored although nobody was told.
 */
export function skip(deadLetter: DeadLetter, reason: string): { readonly accepted: true } | Refused {
  if (isBlank(reason)) return refuse("REASON_REQUIRED");
  if (forkReasons.has(deadLetter.reason) && !deadLetter.hasTombstone) {
    return refuse("HISTORY_FORKED", { reason: deadLetter.reason });
  }
  return { accepted: true };
}
