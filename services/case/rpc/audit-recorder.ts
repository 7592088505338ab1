import { Code, ConnectError } from "@connectrpc/connect";
import type { AuditClient } from "#libs/client/audit-client.ts";
import { DeliveryOutcome, type EventOutcome } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { ErrorInfoSchema } from "#libs/gen/google/rpc/error_details_pb.ts";
import { currentTraceparent, isSampled, recordSpan, withSpan } from "#libs/telemetry/trace-context.ts";
import { millisecondsOf } from "../domain/event-time.ts";
import { createDeliveryMetrics, type DeliveryMetrics } from "../relay/delivery-metrics.ts";
import { DeliveryError, type Outcome, type RecordEvents } from "../relay/deliver.ts";
import type { PendingEvent } from "../domain/pending-event.ts";

/** The longest one delivery may take; in milliseconds. */
const deliveryTimeoutMs = 10_000;

/**
 * Delivers through the audit service's typed client. A batch is a trace of its own, linked to the traces of its events; in
 * each of those one span stands for the wait in the outbox and one for the delivery that ended it, linked to the batch. Deliveries that came
 * to nothing show in the batch's trace alone, however many an outage makes. What was not sampled when it was
 * written is not recorded here either, nor is a batch of nothing else. Counts what becomes of it.
 */
export function createRecordEvents(client: Pick<AuditClient, "recordEvents">, now: () => Date): RecordEvents {
  const metrics = createDeliveryMetrics();
  return (events) => {
    const sampled = events.filter(({ traceparent }) => isSampled(traceparent));
    const links = sampled.map(({ traceparent }) => traceparent);
    const attributes = { "messaging.batch.message_count": events.length };
    // Part of a trace that is not recorded, it is not recorded itself.
    const unsampled = events.find(({ traceparent }) => traceparent !== "")?.traceparent;
    const parent = sampled.length > 0 ? "" : (unsampled ?? "");
    return withSpan("relay batch", { parent, links, attributes }, async () => {
      const startedAt = now();
      const outcomes = await measured(metrics, now, events, deliver(client, events));
      tellTraces(events, outcomes, startedAt, now());
      return outcomes;
    });
  };
}

/** `duplicate` tells of an earlier delivery whose answer was lost, or of one that could not be written down: the wait was over by then. */
function tellTraces(
  events: readonly PendingEvent[],
  outcomes: readonly Outcome[],
  startedAt: Date,
  endedAt: Date,
): void {
  const batch = currentTraceparent();
  if (batch === undefined) return; // Tracing is off.
  events.forEach(({ eventId, traceparent: parent }, index) => {
    const kind = outcomes[index]?.kind;
    if (!isSampled(parent) || kind === undefined || kind === "out_of_order") return;
    if (kind === "applied")
      recordSpan("wait in outbox", new Date(millisecondsOf(eventId)), { parent }, startedAt);
    const attributes = { "caseflow.delivery.outcome": kind };
    recordSpan("deliver event", startedAt, { parent, links: [batch], attributes }, endedAt);
  });
}

async function measured(
  metrics: DeliveryMetrics,
  now: () => Date,
  events: readonly PendingEvent[],
  delivery: Promise<readonly Outcome[]>,
): Promise<readonly Outcome[]> {
  try {
    const outcomes = await delivery;
    const at = now().getTime();
    events.forEach(({ eventId }, index) => {
      const kind = outcomes[index]?.kind;
      if (kind) metrics.answered(kind, at - millisecondsOf(eventId));
    });
    return outcomes;
  } catch (error) {
    if (error instanceof DeliveryError) metrics.failed(error.kind, events.length);
    throw error;
  }
}

async function deliver(
  client: Pick<AuditClient, "recordEvents">,
  events: readonly PendingEvent[],
): Promise<readonly Outcome[]> {
  try {
    const { outcomes } = await client.recordEvents(
      { events: events.map(({ event }) => event) },
      { timeoutMs: deliveryTimeoutMs },
    );
    if (outcomes.length !== events.length) throw new Error("the answer has another number of outcomes");
    return outcomes.map((outcome, index) => readOutcome(outcome, events[index]));
  } catch (error) {
    const connectError = ConnectError.from(error);
    throw new DeliveryError(kindOf(connectError), connectError.message, error);
  }
}

function readOutcome({ outcome, eventId, reason }: EventOutcome, sent: PendingEvent | undefined): Outcome {
  if (eventId !== "" && eventId !== sent?.eventId) throw new Error("an outcome is of another event");
  switch (outcome) {
    case DeliveryOutcome.APPLIED:
      return { kind: "applied" };
    case DeliveryOutcome.DUPLICATE:
      return { kind: "duplicate" };
    case DeliveryOutcome.OUT_OF_ORDER:
      return { kind: "out_of_order" };
    case DeliveryOutcome.REJECTED:
      return { kind: "rejected", reason };
    default:
      return { kind: "out_of_order" }; // Of a newer audit service: it waits until somebody who knows it comes.
  }
}

/**
 * Sorts failures by whose fault they may be. Only what the audit service itself says of the request is `refused`; what it
 * broke on is `failed`; anything else (connection, time, load, credentials, something in between) says nothing of the events.
 */
function kindOf(error: ConnectError): DeliveryError["kind"] {
  const reasons = error.findDetails(ErrorInfoSchema).filter(({ domain }) => domain === "caseflow");
  if (reasons.some(({ reason }) => reason === "INVALID_REQUEST" || reason === "TOO_LARGE")) return "refused";
  return error.code === Code.Internal || error.code === Code.DataLoss ? "failed" : "unreachable";
}
