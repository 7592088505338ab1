import type { Rejection } from "./reason.ts";

/** What of an event decides whether it may be appended. Digests are SHA-256 in lower-case hex. */
export interface Arrival {
  readonly eventId: string;
  readonly source: string;
  readonly subject: string;
  /** From 1. */
  readonly sequence: bigint;
  /** The link digest of the subject's previous event; empty at sequence 1. */
  readonly previousDigest: string;
  /** Digest of the event's own bytes. */
  readonly digest: string;
  /**
   * What the subject's next event has to name: the event's own digest, or, of a tombstone, that of the event it stands in for. The next
   * event was made before the tombstone and names the original, of which the log holds nothing but this digest.
   */
  readonly linkDigest: string;
}

/** An event that the log holds already. */
export interface Recorded {
  readonly eventId: string;
  readonly digest: string;
  readonly leafIndex: bigint;
}

/** The last event of one subject. */
export interface SubjectHead {
  readonly source: string;
  readonly subject: string;
  readonly lastSequence: bigint;
  /** The last event's link digest. */
  readonly lastDigest: string;
}

/** What a tenant's log holds, as far as a batch touches it. */
export interface LogState {
  /** Events in the log; the next one gets this leaf index. */
  readonly size: bigint;
  /** The events of the batch that are there already, under the same ids. */
  readonly recorded: readonly Recorded[];
  /** At least the heads of the batch's subjects; a subject without events has none. */
  readonly heads: readonly SubjectHead[];
}

export type Outcome =
  | { readonly kind: "applied"; readonly leafIndex: bigint }
  | { readonly kind: "duplicate"; readonly leafIndex: bigint }
  | { readonly kind: "out_of_order"; readonly nextSequence: bigint }
  | { readonly kind: "rejected"; readonly reason: Rejection };

export interface AppendPlan<A extends Arrival> {
  /** One an arrival, in the order they came. */
  readonly outcomes: readonly Outcome[];
  /** The events to store: leaf indexes go up by one from the size of the log. */
  readonly appended: readonly { readonly arrival: A; readonly leafIndex: bigint }[];
  /** Where the subjects of `appended` are afterwards, one head a subject. */
  readonly heads: readonly SubjectHead[];
  /** The size of the log afterwards. */
  readonly size: bigint;
}

/**
 * Decides what becomes of a batch of one tenant's events. Pure.
 *
 * Each event is judged against the log as its predecessors in the batch leave it, so that a batch has the same effect
 * as its events sent one by one. The id is judged before the sequence: what is there already is a duplicate, whatever
 * came after it.
 */
export function planAppend<A extends Arrival>(log: LogState, arrivals: readonly A[]): AppendPlan<A> {
  const recorded = new Map<string, Pick<Recorded, "digest" | "leafIndex">>();
  for (const event of log.recorded) recorded.set(event.eventId, event);
  const heads = new Map<string, SubjectHead>();
  for (const head of log.heads) heads.set(subjectKey(head), head);

  const moved = new Map<string, SubjectHead>();
  const appended: { arrival: A; leafIndex: bigint }[] = [];
  let size = log.size;

  const outcomes = arrivals.map((arrival) => {
    const key = subjectKey(arrival);
    const outcome = judge(arrival, recorded.get(arrival.eventId), heads.get(key), size);
    if (outcome.kind !== "applied") return outcome;

    const head = {
      source: arrival.source,
      subject: arrival.subject,
      lastSequence: arrival.sequence,
      lastDigest: arrival.linkDigest,
    };
    recorded.set(arrival.eventId, { digest: arrival.digest, leafIndex: outcome.leafIndex });
    heads.set(key, head);
    moved.set(key, head);
    appended.push({ arrival, leafIndex: outcome.leafIndex });
    size += 1n;
    return outcome;
  });

  return { outcomes, appended, heads: [...moved.values()], size };
}

function judge(
  arrival: Arrival,
  sameId: Pick<Recorded, "digest" | "leafIndex"> | undefined,
  head: SubjectHead | undefined,
  size: bigint,
): Outcome {
  if (sameId !== undefined) {
    return sameId.digest === arrival.digest
      ? { kind: "duplicate", leafIndex: sameId.leafIndex }
      : { kind: "rejected", reason: "EVENT_ID_REUSED" };
  }
  const nextSequence = (head?.lastSequence ?? 0n) + 1n;
  if (arrival.sequence < nextSequence) return { kind: "rejected", reason: "SEQUENCE_REUSED" };
  if (arrival.sequence > nextSequence) return { kind: "out_of_order", nextSequence };
  if (arrival.previousDigest !== (head?.lastDigest ?? ""))
    return { kind: "rejected", reason: "CHAIN_BROKEN" };
  return { kind: "applied", leafIndex: size };
}

/** Neither part holds a NUL (`readEvent` sees to it), so that no two subjects share a key. */
function subjectKey({ source, subject }: { readonly source: string; readonly subject: string }): string {
  return `${source}\0${subject}`;
}
