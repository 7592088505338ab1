import { type Link, trace } from "@opentelemetry/api";
import { contextOf } from "#libs/telemetry/trace-context.ts";
import type { Event } from "../domain/event.ts";

const tracer = trace.getTracer("audit");

/**
 * Shows each event's append in the trace of the call that made the event, as a span `append event` that lasted from
 * `startedAt` until now and links to the delivery. An event without a traceparent shows in a trace of its own.
 */
export function recordAppendSpans(
  startedAt: Date,
  appended: readonly { readonly arrival: { readonly event: Event }; readonly leafIndex: bigint }[],
): void {
  const delivery = trace.getActiveSpan()?.spanContext();
  if (!delivery) return; // Tracing is off.
  const links: Link[] = [{ context: delivery }];
  for (const { arrival, leafIndex } of appended) {
    const { eventId, type, traceparent } = arrival.event;
    const attributes = {
      "caseflow.event.id": eventId,
      "caseflow.event.type": type,
      "caseflow.leaf_index": String(leafIndex),
    };
    tracer
      .startSpan("append event", { startTime: startedAt, links, attributes }, contextOf(traceparent))
      .end();
  }
}
