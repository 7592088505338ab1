import { randomBytes } from "node:crypto";

import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { v7 as uuidv7 } from "uuid";
import { expect, test } from "vitest";

import { ActorKind, type Event as EventMessage, EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";

import { readEvent } from "./read-event.ts";

const valid = {
  eventId: uuidv7(),
  source: "a/b",
  type: "a.b.c",
  schemaVersion: 1,
  tenantId: "acme",
  subject: "s",
  subjectSequence: 2n,
  previousDigest: randomBytes(32),
  actor: { id: "ada", kind: ActorKind.PERSON, roles: ["clerk"], onBehalfOf: "grace" },
  requestId: "0B9B6A4E-6F4B-4E4A-8F55-0D3F6F7C1A11",
  correlationId: "c",
  traceparent: "not a traceparent",
  occurredAt: { seconds: -1n, nanos: 999_999_999 },
  recordedAt: { seconds: 1_700_000_000n, nanos: 123_456_789 },
} satisfies MessageInitShape<typeof EventSchema>;

/** `undefined` takes a message away, which the type of an initial value has no word for: hence the cast. */
const encode = (changes: { [F in keyof EventMessage]?: unknown } = {}) =>
  toBinary(EventSchema, create(EventSchema, { ...valid, ...changes } as typeof valid));

test("an event that keeps to the schema is read whole, its times rounded down to microseconds", () => {
  expect(readEvent(encode())).toEqual({
    eventId: valid.eventId,
    source: "a/b",
    type: "a.b.c",
    tenantId: "acme",
    subject: "s",
    sequence: 2n,
    previousDigest: valid.previousDigest.toString("hex"),
    originalDigest: "",
    actorId: "ada",
    onBehalfOf: "grace",
    requestId: valid.requestId,
    correlationId: "c",
    traceparent: "not a traceparent",
    occurredAtMicros: -1n,
    recordedAtMicros: 1_700_000_000_123_456n,
  });
});

const digest = randomBytes(32);
const reconciliation = {
  source: "a/b",
  treeSize: 9n,
  rootHash: digest,
  entryCount: 9n,
  entriesDigest: digest,
};
const tooLong = (most: number) => "x".repeat(most + 1);

test.each<[string, Parameters<typeof encode>[0]]>([
  ["event_id", { eventId: "" }],
  ["event_id", { eventId: valid.eventId.toUpperCase() }],
  ["event_id", { eventId: "0b9b6a4e-6f4b-4e4a-8f55-0d3f6f7c1a11" }],
  ["source", { source: "" }],
  ["source", { source: tooLong(128) }],
  ["source", { source: "a\0b" }],
  ["type", { type: "" }],
  ["type", { type: tooLong(128) }],
  ["schema_version", { schemaVersion: 0 }],
  ["tenant_id", { tenantId: "Acme" }],
  ["tenant_id", { tenantId: "acme\n" }],
  ["tenant_id", { tenantId: tooLong(63) }],
  ["subject", { subject: "" }],
  ["subject", { subject: tooLong(256) }],
  ["subject_sequence", { subjectSequence: 0n }],
  ["previous_digest", { previousDigest: digest.subarray(1) }],
  ["actor", { actor: undefined }],
  ["actor", { actor: { ...valid.actor, id: "" } }],
  ["actor", { actor: { ...valid.actor, id: "a\0" } }],
  ["actor", { actor: { ...valid.actor, kind: ActorKind.UNSPECIFIED } }],
  ["actor", { actor: { ...valid.actor, roles: Array.from({ length: 33 }, () => "r") } }],
  ["actor", { actor: { ...valid.actor, onBehalfOf: tooLong(128) } }],
  ["reason", { reason: tooLong(4_000) }],
  ["decision_hash", { decisionHash: digest.subarray(1) }],
  ["content_commitment", { contentCommitment: digest.subarray(1) }],
  ["request_id", { requestId: "1" }],
  ["correlation_id", { correlationId: tooLong(128) }],
  ["occurred_at", { occurredAt: undefined }],
  ["occurred_at", { occurredAt: { seconds: 253_402_300_800n } }],
  ["recorded_at", { recordedAt: undefined }],
  ["recorded_at", { recordedAt: { nanos: -1 } }],
  ["legal_authority", { legalAuthority: tooLong(1_000) }],
  ["subject_type", { subjectType: tooLong(63) }],
  ["tombstone", { tombstone: { originalEventId: valid.eventId, reason: "lost" } }],
  ["tombstone", { tombstone: { originalDigest: digest, originalEventId: "1", reason: "lost" } }],
  ["tombstone", { tombstone: { originalDigest: digest, originalEventId: valid.eventId } }],
  ["about_event_ids", { aboutEventIds: [valid.eventId, "1"] }],
  ["about_event_ids", { aboutEventIds: Array.from({ length: 501 }, () => valid.eventId) }],
  ["reconciliation", { reconciliation: { ...reconciliation, source: "" } }],
  ["reconciliation", { reconciliation: { ...reconciliation, treeSize: 0n, entryCount: 0n } }],
  ["reconciliation", { reconciliation: { ...reconciliation, rootHash: digest.subarray(1) } }],
  ["reconciliation", { reconciliation: { ...reconciliation, entryCount: 10n } }],
  ["reconciliation", { reconciliation: { ...reconciliation, entriesDigest: digest.subarray(1) } }],
])("a wrong %s is told by its name and by nothing it holds", (field, changes) => {
  expect(readEvent(encode(changes))).toMatchObject({ fault: field });
});

test("of a tombstone the digest is told that the next event will name", () => {
  const tombstone = { originalDigest: digest, originalEventId: valid.eventId, reason: "given up" };
  expect(readEvent(encode({ tombstone }))).toMatchObject({ originalDigest: digest.toString("hex") });
});

test("the longest text allowed is counted in characters, not in UTF-16 units", () => {
  expect(readEvent(encode({ subject: "🜁".repeat(256) }))).toMatchObject({ subject: "🜁".repeat(256) });
  expect(readEvent(encode({ subject: "🜁".repeat(257) }))).toMatchObject({ fault: "subject" });
});

test("a reason may hold a NUL: it goes to no column", () => {
  expect(readEvent(encode({ reason: "a\0b" }))).toMatchObject({ eventId: valid.eventId, source: "a/b" });
});

test("an invalid event is named by its id where that can be read", () => {
  expect(readEvent(encode({ source: "" }))).toEqual({ eventId: valid.eventId, fault: "source" });
  expect(readEvent(encode({ eventId: "x\ny" }))).toEqual({ eventId: "", fault: "event_id" });
});

test.each([
  ["bytes that are no message", Buffer.from([0xff, 0xff])],
  ["text that is not UTF-8", Buffer.from([0x12, 0x01, 0xff])],
])("%s are no event", (_, bytes) => {
  expect(readEvent(bytes)).toEqual({ eventId: "", fault: "not an encoded event" });
});

test("fields that came with a later schema are no fault", () => {
  const unknown = Buffer.from([0xfa, 0x3e, 0x03, 0x61, 0x62, 0x63]); // Field 1007, three bytes.
  expect(readEvent(Buffer.concat([encode(), unknown]))).toMatchObject({ eventId: valid.eventId });
});
