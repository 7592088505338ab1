import { create, fromBinary } from "@bufbuild/protobuf";
import {
  AuditedEventSchema,
  DeliveryOutcome,
  EventOutcomeSchema,
  SubjectHeadSchema,
  TailEventsResponseSchema,
  type AuditedEvent,
  type EventOutcome,
  type SubjectHead as SubjectHeadMessage,
  type TailEventsResponse,
} from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import type { RecordedOutcome } from "../application/record-events.ts";
import type { TailMessage } from "../application/tail-events.ts";
import type { SubjectHead } from "../domain/append.ts";
import type { StoredEvent } from "../domain/event.ts";
import { toTimestamp } from "./timestamps.ts";

/** An event as the log holds it. What it says is read out of the stored bytes. */
export function toAuditedEvent(stored: StoredEvent): AuditedEvent {
  return create(AuditedEventSchema, {
    eventBytes: stored.bytes,
    event: fromBinary(EventSchema, stored.bytes),
    leafIndex: stored.leafIndex,
    digest: stored.digest,
    receivedAt: toTimestamp(stored.receivedAtMicros),
    ...(stored.sealedAtMicros !== undefined && { sealedAt: toTimestamp(stored.sealedAtMicros) }),
  });
}

/**
 * Bounds a ListEventsResponse to the 4 MiB at which many gRPC clients stop reading. An event is in it twice, as bytes and
 * decoded (never longer), with at most 128 bytes around it; what is left over is for the page token.
 */
export const pageWeight = { bytesMax: 4 * 1024 * 1024 - 2_048, perEventByte: 2, perEvent: 128 };

export function toTailMessage({ event, resumeToken }: TailMessage): TailEventsResponse {
  return create(TailEventsResponseSchema, { ...(event && { event: toAuditedEvent(event) }), resumeToken });
}

export function toEventOutcome({ eventId, outcome }: RecordedOutcome): EventOutcome {
  switch (outcome.kind) {
    case "applied":
      return create(EventOutcomeSchema, {
        eventId,
        outcome: DeliveryOutcome.APPLIED,
        leafIndex: outcome.leafIndex,
      });
    case "duplicate":
      return create(EventOutcomeSchema, {
        eventId,
        outcome: DeliveryOutcome.DUPLICATE,
        leafIndex: outcome.leafIndex,
      });
    case "out_of_order":
      return create(EventOutcomeSchema, {
        eventId,
        outcome: DeliveryOutcome.OUT_OF_ORDER,
        nextSequence: outcome.nextSequence,
      });
    case "rejected":
      return create(EventOutcomeSchema, {
        eventId,
        outcome: DeliveryOutcome.REJECTED,
        reason: outcome.reason,
      });
    default:
      return outcome satisfies never;
  }
}

export function toHeadMessage({ lastDigest, ...head }: SubjectHead): SubjectHeadMessage {
  return create(SubjectHeadSchema, { ...head, lastDigest: Buffer.from(lastDigest, "hex") });
}
