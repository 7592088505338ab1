import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { Fault } from "#libs/fault/fault.ts";
import type { EventFilter as EventFilterMessage } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import type { EventFilter } from "../domain/event.ts";
import type { Reason } from "../domain/reason.ts";
import { isTimestamp, toMicros } from "./timestamps.ts";

/** Reads a filter that keeps to its schema. Fault INVALID_REQUEST for text with a NUL in it and for times that are none. */
export function readFilter(message: EventFilterMessage | undefined): EventFilter {
  if (!message) return {};
  const conditions: { [C in keyof EventFilter]-?: EventFilter[C] | undefined } = {
    source: readText("source", message.source),
    type: readText("type", message.type),
    subject: readText("subject", message.subject),
    actorId: readText("actor_id", message.actorId),
    onBehalfOf: readText("on_behalf_of", message.onBehalfOf),
    requestId: readText("request_id", message.requestId.toLowerCase()),
    correlationId: readText("correlation_id", message.correlationId),
    occurredFromMicros: readTime("occurred_from", message.occurredFrom),
    occurredBeforeMicros: readTime("occurred_before", message.occurredBefore),
    recordedFromMicros: readTime("recorded_from", message.recordedFrom),
    recordedBeforeMicros: readTime("recorded_before", message.recordedBefore),
    receivedFromMicros: readTime("received_from", message.receivedFrom),
    receivedBeforeMicros: readTime("received_before", message.receivedBefore),
  };
  return Object.fromEntries(Object.entries(conditions).filter(([, value]) => value !== undefined));
}

function readText(field: string, text: string): string | undefined {
  if (text.includes("\0")) throw invalid(field, "must not hold a NUL");
  return text === "" ? undefined : text;
}

function readTime(field: string, time: Timestamp | undefined): bigint | undefined {
  return time && toMicros(expectTime(field, time));
}

/** The same time. Fault INVALID_REQUEST when it is none: the schema's rules let some through. */
export function expectTime(field: string, time: Timestamp): Timestamp {
  if (!isTimestamp(time)) throw invalid(field, "must be a time of the years 1 to 9999");
  return time;
}

function invalid(field: string, description: string): Fault<Reason> {
  return new Fault("INVALID_REQUEST", {}, { fields: [{ field: `filter.${field}`, description }] });
}
