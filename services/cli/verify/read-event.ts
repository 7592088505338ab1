import { hash } from "node:crypto";
import { fromBinary } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import {
  type Actor,
  ActorKind,
  type Event,
  EventSchema,
  type Reconciliation,
  type Tombstone,
} from "#libs/gen/caseflow/event/v1/event_pb.ts";

import type { Breach } from "./breach.ts";

/** An event as it stands in the log. */
export interface LoggedEvent {
  readonly leafIndex: number;
  readonly event: Event;
  readonly actor: Actor;
  /** Milliseconds since 1970, with fractions. */
  readonly occurredAtMs: number;
  readonly recordedAtMs: number;
  /** What the subject's next event has to name, in lower-case hex: a tombstone hands on what the original would have. */
  readonly linkDigest: string;
}

const eventBytesMax = 61_440;
const digestBytes = 32;
const aboutEventIdsMax = 500;
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const lowerCaseUuidV7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const tenantId = /^[a-z0-9][a-z0-9-]{0,62}$/;
/** What google.protobuf.Timestamp allows: the years 1 to 9999, in seconds since 1970. */
const firstSecond = -62_135_596_800n;
const lastSecond = 253_402_300_799n;

/** Decodes an entry; `undefined` when it is no event at all. */
export function decodeEvent(bytes: Uint8Array): Event | undefined {
  try {
    return fromBinary(EventSchema, bytes);
  } catch {
    return undefined;
  }
}

/** Holds an event to what event.proto promises of every event, whoever tells it; in the order of its fields. */
export function findFieldBreach(event: Event, bytes: Uint8Array): Breach | undefined {
  const { actor, tombstone, reconciliation } = event;
  const promises: readonly (readonly [field: string, promise: string, keeps: boolean])[] = [
    ["the event", `at most ${eventBytesMax} bytes`, bytes.length <= eventBytesMax],
    ["event_id", "a UUID of version 7 in lower case", lowerCaseUuidV7.test(event.eventId)],
    ["source", "1 to 128 characters", isText(event.source, 1, 128)],
    ["type", "1 to 128 characters", isText(event.type, 1, 128)],
    ["schema_version", "1 or more", event.schemaVersion >= 1],
    ["tenant_id", "the id of a tenant", tenantId.test(event.tenantId)],
    ["subject", "1 to 256 characters", isText(event.subject, 1, 256)],
    ["subject_sequence", "1 or more", event.subjectSequence >= 1n],
    ["previous_digest", "32 bytes, or none", isDigestOrEmpty(event.previousDigest)],
    ["actor", "somebody, of a known kind", actor !== undefined && isActor(actor)],
    ["reason", "at most 4,000 characters", isText(event.reason, 0, 4_000)],
    ["decision_hash", "32 bytes, or none", isDigestOrEmpty(event.decisionHash)],
    ["content_commitment", "32 bytes, or none", isDigestOrEmpty(event.contentCommitment)],
    ["request_id", "a UUID, or nothing", event.requestId === "" || uuid.test(event.requestId)],
    ["correlation_id", "at most 128 characters", isText(event.correlationId, 0, 128)],
    ["occurred_at", "a time", isTime(event.occurredAt)],
    ["recorded_at", "a time", isTime(event.recordedAt)],
    ["legal_authority", "at most 1,000 characters", isText(event.legalAuthority, 0, 1_000)],
    ["subject_type", "at most 63 characters", isText(event.subjectType, 0, 63)],
    ["tombstone", "what it stands in for, and why", tombstone === undefined || isTombstone(tombstone)],
    ["about_event_ids", "at most 500 UUIDs", isIdList(event.aboutEventIds)],
    [
      "reconciliation",
      "what was compared, and two digests",
      reconciliation === undefined || isReconciliation(reconciliation),
    ],
  ];
  const broken = promises.find(([, , keeps]) => !keeps);
  if (!broken) return undefined;
  const [field, promise] = broken;
  return { what: `The event breaks the form of an event: ${field}.`, expected: `${field}: ${promise}` };
}

export function findTenantBreach({ tenantId: found }: Event, expected: string): Breach | undefined {
  if (found === expected) return undefined;
  return { what: "The event is of another tenant than the log.", expected, found };
}

/** Only for an event without a field breach, whose actor and times are there. */
export function toLoggedEvent(leafIndex: number, event: Event, bytes: Uint8Array): LoggedEvent {
  const { actor, occurredAt, recordedAt, tombstone } = event;
  if (!actor || !occurredAt || !recordedAt) throw new Error("unreachable: the fields were checked before");
  return {
    leafIndex,
    event,
    actor,
    occurredAtMs: toMs(occurredAt),
    recordedAtMs: toMs(recordedAt),
    linkDigest: tombstone ? toHex(tombstone.originalDigest) : hash("sha256", bytes, "hex"),
  };
}

/** The person who acts: whom the caller acts for, and only without anybody such the caller. */
export function personOf({ actor }: LoggedEvent): string {
  return actor.onBehalfOf || actor.id;
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

function toMs({ seconds, nanos }: Timestamp): number {
  return Number(seconds) * 1_000 + nanos / 1_000_000;
}

function isActor({ id, kind, roles, onBehalfOf }: Actor): boolean {
  const known = kind !== ActorKind.UNSPECIFIED;
  return isText(id, 1, 128) && known && roles.length <= 32 && isText(onBehalfOf, 0, 128);
}

function isTombstone({ originalDigest, originalEventId, reason }: Tombstone): boolean {
  return originalDigest.length === digestBytes && uuid.test(originalEventId) && isText(reason, 1, 4_000);
}

function isReconciliation(stated: Reconciliation): boolean {
  const { source, treeSize, rootHash, entryCount, entriesDigest } = stated;
  const digests = [rootHash, entriesDigest];
  const isWhole = isText(source, 1, 128) && digests.every(({ length }) => length === digestBytes);
  return isWhole && treeSize >= 1n && entryCount <= treeSize;
}

function isIdList(ids: readonly string[]): boolean {
  return ids.length <= aboutEventIdsMax && ids.every((id) => uuid.test(id));
}

/** `least` is 0 or 1. Characters are code points, of which there are never more than UTF-16 code units. */
function isText(text: string, least: 0 | 1, most: number): boolean {
  return text.length >= least && (text.length <= most || Array.from(text).length <= most);
}

function isDigestOrEmpty(bytes: Uint8Array): boolean {
  return bytes.length === 0 || bytes.length === digestBytes;
}

function isTime(time: Timestamp | undefined): boolean {
  if (!time) return false;
  const { seconds, nanos } = time;
  return seconds >= firstSecond && seconds <= lastSecond && nanos >= 0 && nanos <= 999_999_999;
}
