import { metrics } from "@opentelemetry/api";
import { backgroundSeconds, createDurations } from "#libs/telemetry/durations.ts";
import type { DeliveryError, Outcome } from "./deliver.ts";

export interface DeliveryMetrics {
  /** The audit service has answered; `ageMs` is how long ago the event was recorded. */
  answered(outcome: Outcome["kind"], ageMs: number): void;
  /** It has not answered a batch of `count`. */
  failed(kind: DeliveryError["kind"], count: number): void;
}

const outcomes: Readonly<Record<Outcome["kind"] | DeliveryError["kind"], true>> = {
  applied: true,
  duplicate: true,
  out_of_order: true,
  rejected: true,
  unreachable: true,
  refused: true,
  failed: true,
};

/** Counts deliveries by event, and how long events take from their commit until the audit service has them. */
export function createDeliveryMetrics(): DeliveryMetrics {
  const deliveries = metrics.getMeter("caseflow.relay").createCounter("relay.deliveries", {
    description: "Events sent to the audit service, by its answer or why there was none; each time counts",
  });
  for (const outcome of Object.keys(outcomes)) deliveries.add(0, { outcome }); // So that a first one shows as a rise.
  const recordDelivery = createDurations(
    "caseflow.relay",
    "event.delivery",
    "From an event's commit until the audit service said that it has it; without duplicates",
    backgroundSeconds,
  );
  return {
    answered(outcome, ageMs) {
      deliveries.add(1, { outcome });
      if (outcome === "applied") recordDelivery(Math.max(0, ageMs), {});
    },
    failed: (kind, count) => deliveries.add(count, { outcome: kind }),
  };
}
