import { fromBinary } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";

import {
  type Actor,
  ActorKind,
  type Event as EventMessage,
  EventSchema,
  type Reconciliation,
  type Tombstone,
} from "#libs/gen/caseflow/event/v1/event_pb.ts";

import type { Event, InvalidEvent } from "../domain/event.ts";
import { isTimestamp, toMicros } from "./timestamps.ts";

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const lowerCaseUuidV7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const tenantId = /^[a-z0-9][a-z0-9-]{0,62}$/;
const sha256Bytes = 32;

/**
 * Reads the encoded event that a source sent, and holds it to the rules of event.proto.
 *
 * Fields that this version does not know are left alone, and so is a `traceparent` that makes no sense: neither may
 * cost an event its place in the record.
 */
export function readEvent(bytes: Uint8Array): Event | InvalidEvent {
  let message: EventMessage;
  try {
    message = fromBinary(EventSchema, bytes);
  } catch {
    return { eventId: "", fault: "not an encoded event" };
  }
  const { actor, occurredAt, recordedAt } = message;
  const fault = findFault(message);
  if (fault !== undefined || !actor || !occurredAt || !recordedAt) {
    return { eventId: uuid.test(message.eventId) ? message.eventId : "", fault: fault ?? "incomplete" };
  }
  return {
    eventId: message.eventId,
    source: message.source,
    type: message.type,
    tenantId: message.tenantId,
    subject: message.subject,
    sequence: message.subjectSequence,
    previousDigest: Buffer.from(message.previousDigest).toString("hex"),
    originalDigest: Buffer.from(message.tombstone?.originalDigest ?? []).toString("hex"),
    actorId: actor.id,
    onBehalfOf: actor.onBehalfOf,
    requestId: message.requestId,
    correlationId: message.correlationId,
    traceparent: message.traceparent,
    occurredAtMicros: toMicros(occurredAt),
    recordedAtMicros: toMicros(recordedAt),
  };
}

/** The first field that breaks its rule in event.proto, by name; `undefined` when all keep to them. */
function findFault(event: EventMessage): string | undefined {
  const rules: readonly (readonly [field: string, keeps: boolean])[] = [
    ["event_id", lowerCaseUuidV7.test(event.eventId)],
    ["source", isIndexable(event.source, 1, 128)],
    ["type", isIndexable(event.type, 1, 128)],
    ["schema_version", event.schemaVersion >= 1],
    ["tenant_id", tenantId.test(event.tenantId)],
    ["subject", isIndexable(event.subject, 1, 256)],
    ["subject_sequence", event.subjectSequence >= 1n],
    ["previous_digest", isDigestOrEmpty(event.previousDigest)],
    ["actor", event.actor !== undefined && isActor(event.actor)],
    ["reason", isText(event.reason, 0, 4_000)],
    ["decision_hash", isDigestOrEmpty(event.decisionHash)],
    ["content_commitment", isDigestOrEmpty(event.contentCommitment)],
    ["request_id", event.requestId === "" || uuid.test(event.requestId)],
    ["correlation_id", isIndexable(event.correlationId, 0, 128)],
    ["occurred_at", isPresentTime(event.occurredAt)],
    ["recorded_at", isPresentTime(event.recordedAt)],
    ["legal_authority", isText(event.legalAuthority, 0, 1_000)],
    ["subject_type", isText(event.subjectType, 0, 63)],
    ["tombstone", event.tombstone === undefined || isTombstone(event.tombstone)],
    [
      "about_event_ids",
      event.aboutEventIds.length <= 500 && event.aboutEventIds.every((id) => uuid.test(id)),
    ],
    ["reconciliation", event.reconciliation === undefined || isReconciliation(event.reconciliation)],
  ];
  return rules.find(([, keeps]) => !keeps)?.[0];
}

function isActor({ id, kind, roles, onBehalfOf }: Actor): boolean {
  return (
    isIndexable(id, 1, 128) &&
    kind !== ActorKind.UNSPECIFIED &&
    roles.length <= 32 &&
    isIndexable(onBehalfOf, 0, 128)
  );
}

function isTombstone({ originalDigest, originalEventId, reason }: Tombstone): boolean {
  return originalDigest.length === sha256Bytes && uuid.test(originalEventId) && isText(reason, 1, 4_000);
}

function isReconciliation({
  source,
  treeSize,
  rootHash,
  entryCount,
  entriesDigest,
}: Reconciliation): boolean {
  const digests = [rootHash, entriesDigest];
  return (
    isText(source, 1, 128) &&
    treeSize >= 1n &&
    entryCount <= treeSize &&
    digests.every(({ length }) => length === sha256Bytes)
  );
}

/** Text that goes to a column too, which cannot hold a NUL. */
function isIndexable(text: string, least: 0 | 1, most: number): boolean {
  return !text.includes("\0") && isText(text, least, most);
}

/** `least` is 0 or 1. Characters are code points, of which there are never more than UTF-16 code units. */
function isText(text: string, least: 0 | 1, most: number): boolean {
  return text.length >= least && (text.length <= most || Array.from(text).length <= most);
}

function isDigestOrEmpty(bytes: Uint8Array): boolean {
  return bytes.length === 0 || bytes.length === sha256Bytes;
}

function isPresentTime(time: Timestamp | undefined): boolean {
  return time !== undefined && isTimestamp(time);
}
