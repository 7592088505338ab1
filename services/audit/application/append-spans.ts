import { currentTraceparent, recordSpan } from "#libs/telemetry/trace-context.ts";
import type { Event } from "../domain/event.ts";

/**
 * Shows each event's append in the trace of the call that made the event, as a span `append event` that lasted from
 * `startedAt` until now and links to the delivery; not where that call was not recorded. An event without a traceparent shows in a
 * trace of its own.
 */
export function recordAppendSpans(
  startedAt: Date,
  appended: readonly { readonly arrival: { readonly event: Event }; readonly leafIndex: bigint }[],
): void {
  const delivery = currentTraceparent();
  if (delivery === undefined) return; // Tracing is off.
  for (const { arrival, leafIndex } of appended) {
    const { eventId, type, traceparent } = arrival.event;
    const attributes = {
      "caseflow.event.id": eventId,
      "caseflow.event.type": type,
      "caseflow.leaf_index": String(leafIndex),
    };
    recordSpan("append event", startedAt, { parent: traceparent, links: [delivery], attributes });
  }
}
