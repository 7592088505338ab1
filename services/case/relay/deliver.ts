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
  override readonly name = "DeliveryError";
  /**
   * `unreachable`: says nothing about the events (connection, deadline, overload, credentials). `refused`: the audit service
   * itself says that the request is wrong. `failed`: it broke on the request, or is broken.
   */
  readonly kind: "unreachable" | "refused" | "failed";

  constructor(kind: DeliveryError["kind"], message: string, cause: unknown) {
    super(message, { cause });
    this.kind = kind;
  }
}

/**
 * What is to be done with an event after a delivery. `suspect`: the service broke on it alone, which may be either's fault.
 * Events without a verdict were not tried.
 */
export type Verdict =
  | { readonly event: PendingEvent; readonly kind: "delivered" }
  | { readonly event: PendingEvent; readonly kind: "waits" }
  | { readonly event: PendingEvent; readonly kind: "suspect"; readonly detail: string }
  | { readonly event: PendingEvent; readonly kind: "dead"; readonly reason: string; readonly detail: string };

export interface Delivery {
  readonly verdicts: readonly Verdict[];
  /** Why it ended early, if it did. */
  readonly failure: DeliveryError | undefined;
}

/** So many events on which the service breaks, one by one, while nothing gets through: it is the service that is broken. */
const suspectsMax = 3;

/**
 * Delivers a batch. One that fails is halved until the event that breaks it stands alone, for as long as `mayGoOn`. An event
 * is dead when the audit service rejects it, or refuses a request of it alone.
 */
export async function deliver(
  recordEvents: RecordEvents,
  batch: readonly PendingEvent[],
  mayGoOn: () => boolean,
): Promise<Delivery> {
  const verdicts: Verdict[] = [];
  const queue: (readonly PendingEvent[])[] = [batch];
  let answered = false;
  let suspects = 0;
  for (let part = queue.shift(); part !== undefined && mayGoOn(); part = queue.shift()) {
    try {
      const outcomes = await recordEvents(part);
      answered = true;
      part.forEach((event, index) => verdicts.push(judge(event, outcomes[index])));
    } catch (error) {
      if (!(error instanceof DeliveryError)) throw error;
      const [first, ...others] = part;
      if (error.kind === "unreachable" || first === undefined)
        return { verdicts: keepParked(verdicts), failure: error };
      if (others.length > 0) {
        queue.unshift(part.slice(0, part.length >> 1), part.slice(part.length >> 1));
      } else if (error.kind === "refused") {
        verdicts.push({ event: first, kind: "dead", reason: "DELIVERY_REFUSED", detail: error.message });
      } else {
        verdicts.push({ event: first, kind: "suspect", detail: error.message });
        suspects += 1;
        if (!answered && suspects === suspectsMax) return { verdicts: keepParked(verdicts), failure: error };
      }
    }
  }
  return { verdicts: keepParked(verdicts), failure: undefined };
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

/**
 * Of a case, only the first event at fault counts. Those behind it were judged against a history that lacks it: they wait with
 * their case. Verdicts are in the order of the batch.
 */
function keepParked(verdicts: readonly Verdict[]): readonly Verdict[] {
  const parkedCases = new Set<string>();
  return verdicts.map((verdict) => {
    if (verdict.kind === "delivered" || verdict.kind === "waits") return verdict;
    const { event } = verdict;
    if (parkedCases.has(event.caseId)) return { event, kind: "waits" as const };
    parkedCases.add(event.caseId);
    return verdict;
  });
}
