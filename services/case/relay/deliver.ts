import type { PendingEvent } from "../domain/pending-event.ts";

/** What the audit service said of one event. */
export type Outcome =
  | { readonly kind: "applied" }
  | { readonly kind: "duplicate" }
  | { readonly kind: "out_of_order" }
  | { readonly kind: "rejected"; readonly reason: string };

/**
 * Sends a batch of one tenant's events, a case's in order, and tells the outcome of each, in the order sent. Throws a
 * `DeliveryError` when there is no answer.
 */
export type RecordEvents = (events: readonly PendingEvent[]) => Promise<readonly Outcome[]>;

/** Why a batch got no answer. */
export class DeliveryError extends Error {
  /**
   * `unreachable`: says nothing about the events (connection, deadline, overload, credentials). `refused`: the request itself
   * is wrong, whoever sends it and whenever. `failed`: the service broke on it, or is broken.
   */
  readonly kind: "unreachable" | "refused" | "failed";

  constructor(kind: DeliveryError["kind"], message: string, cause: unknown) {
    super(message, { cause });
    this.name = "DeliveryError";
    this.kind = kind;
  }
}

/** What is to be done with an event after a delivery; those without a verdict are tried again. */
export type Verdict =
  | { readonly event: PendingEvent; readonly kind: "delivered" }
  | { readonly event: PendingEvent; readonly kind: "waits" }
  | { readonly event: PendingEvent; readonly kind: "dead"; readonly reason: string; readonly detail: string };

/**
 * Delivers a batch. A batch that fails is halved until the event that breaks it stands alone.
 *
 * An event is given up only when the fault is surely its own: rejected by the audit service, refused alone, or failing
 * alone while others of the batch got through. A service that fails on everything is down, whatever it calls it:
 * that is told as `failure`, beside the verdicts reached before it, and nothing is given up.
 */
export async function deliver(
  recordEvents: RecordEvents,
  batch: readonly PendingEvent[],
): Promise<{ readonly verdicts: readonly Verdict[]; readonly failure: DeliveryError | undefined }> {
  const verdicts: Verdict[] = [];
  const brokenAlone: { event: PendingEvent; error: DeliveryError }[] = [];
  const queue: (readonly PendingEvent[])[] = [batch];
  let failure: DeliveryError | undefined;
  for (let part = queue.shift(); part !== undefined; part = queue.shift()) {
    try {
      const outcomes = await recordEvents(part);
      part.forEach((event, index) => verdicts.push(judge(event, outcomes[index])));
    } catch (error) {
      if (!(error instanceof DeliveryError)) throw error;
      const [first] = part;
      if (error.kind === "unreachable") {
        failure = error;
        break;
      }
      if (part.length === 1 && first !== undefined) brokenAlone.push({ event: first, error });
      else queue.unshift(part.slice(0, part.length >> 1), part.slice(part.length >> 1));
    }
  }
  const othersGotThrough = verdicts.length > 0;
  for (const { event, error } of brokenAlone) {
    if (error.kind === "refused" || othersGotThrough) {
      verdicts.push({ event, kind: "dead", reason: "DELIVERY_FAILED", detail: error.message });
    } else {
      failure ??= error;
    }
  }
  return { verdicts: keepParked(batch, verdicts), failure };
}

/**
 * Of a case, only the first event that is given up becomes a dead letter. Those behind it were judged against a history
 * that lacks it: they wait with their case.
 */
function keepParked(batch: readonly PendingEvent[], verdicts: readonly Verdict[]): readonly Verdict[] {
  const byEvent = new Map(verdicts.map((verdict) => [verdict.event, verdict]));
  const parkedCases = new Set<string>();
  return batch.flatMap((event) => {
    const verdict = byEvent.get(event);
    if (verdict?.kind !== "dead") return verdict ?? [];
    if (parkedCases.has(event.caseId)) return { event, kind: "waits" as const };
    parkedCases.add(event.caseId);
    return verdict;
  });
}

function judge(event: PendingEvent, outcome: Outcome | undefined): Verdict {
  switch (outcome?.kind) {
    case "applied":
    case "duplicate":
      return { event, kind: "delivered" };
    case "rejected":
      return { event, kind: "dead", reason: outcome.reason, detail: "rejected by the audit service" };
    case "out_of_order":
    case undefined:
      return { event, kind: "waits" };
    default:
      return outcome satisfies never;
  }
}
