import { fromBinary, toJson } from "@bufbuild/protobuf";
import { EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import type { EventWriter } from "../../application/export-events.ts";
import { toTimestamp } from "../timestamps.ts";
import { toHex, toTimeText } from "./texts.ts";

/**
 * One CloudEvents 1.0 object a line, in the JSON format's structured mode. `data` is the whole event as proto3 JSON. Extensions are text,
 * since a CloudEvents integer ends at 2^31: `leafindex`, `tenantid`, `digest` (SHA-256 of the event's bytes, in hex),
 * `receivedtime`, and `sequence`, the subject's sequence with leading zeros, so that it sorts as text.
 */
export const cloudEvents: EventWriter = {
  format: "cloudevents",
  header: "",
  toLine: ({ leafIndex, bytes, digest, receivedAtMicros }) => {
    const event = fromBinary(EventSchema, bytes);
    const cloudEvent = {
      specversion: "1.0",
      id: event.eventId,
      source: toUriReference(event.source),
      type: toAttribute(event.type),
      subject: toAttribute(event.subject),
      time: toTimeText(event.occurredAt),
      datacontenttype: "application/json",
      leafindex: String(leafIndex),
      sequence: String(event.subjectSequence).padStart(20, "0"),
      tenantid: event.tenantId,
      digest: toHex(digest),
      receivedtime: toTimeText(toTimestamp(receivedAtMicros)),
      data: toJson(EventSchema, event),
    };
    return `${JSON.stringify(cloudEvent)}\n`;
  },
  toFooter: () => "",
};

/** Sources are URI-references by agreement, and held to nothing: what no URI may hold is percent-encoded (RFC 3986, section 2). */
function toUriReference(source: string): string {
  return source.replaceAll(/[^A-Za-z0-9\-._~:/?#[\]@!$&'()*+,;=%]|%(?![0-9A-Fa-f]{2})/gu, encodeURIComponent);
}

/** Attributes hold no control characters and no noncharacters (CloudEvents 1.0, "Type System"); `data` has the exact text. */
function toAttribute(text: string): string {
  return text.replaceAll(/\p{Cc}|\p{Noncharacter_Code_Point}/gu, "\uFFFD");
}
