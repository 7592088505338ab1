import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { ActorKind, EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { judgeEntries, twoOf, underReview } from "#test/support/made-cases.ts";
import { type Changes, makeCase } from "#test/support/made-history.ts";

const digest = new Uint8Array(32);
const reconciliation = {
  source: "a/b",
  treeSize: 9n,
  rootHash: digest,
  entryCount: 9n,
  entriesDigest: digest,
};

test.each<[field: string, changes: Changes]>([
  ["event_id", { eventId: "019B0000-0000-7000-8000-000000000001" }],
  ["event_id", { eventId: "019b0000-0000-4000-8000-000000000001" }],
  ["source", { source: "" }],
  ["type", { type: "x".repeat(129) }],
  ["schema_version", { schemaVersion: 0 }],
  ["tenant_id", { tenantId: "Acme" }],
  ["subject", { subject: "x".repeat(257) }],
  ["subject_sequence", { subjectSequence: 0n }],
  ["previous_digest", { previousDigest: new Uint8Array(31) }],
  ["actor", { actor: { id: "", kind: ActorKind.PERSON } }],
  ["actor", { actor: { id: "ann" } }],
  ["actor", { actor: { id: "ann", kind: ActorKind.PERSON, roles: Array<string>(33).fill("a") } }],
  ["reason", { reason: "x".repeat(4_001) }],
  ["decision_hash", { decisionHash: new Uint8Array(33) }],
  ["content_commitment", { contentCommitment: new Uint8Array(1) }],
  ["request_id", { requestId: "1" }],
  ["correlation_id", { correlationId: "x".repeat(129) }],
  ["occurred_at", { occurredAt: { seconds: 253_402_300_800n } }],
  ["recorded_at", { recordedAt: { seconds: 0n, nanos: -1 } }],
  ["legal_authority", { legalAuthority: "x".repeat(1_001) }],
  ["subject_type", { subjectType: "x".repeat(64) }],
  ["tombstone", { tombstone: { originalDigest: new Uint8Array(32), originalEventId: "x", reason: "x" } }],
  ["about_event_ids", { aboutEventIds: ["x"] }],
  [
    "about_event_ids",
    { aboutEventIds: Array.from({ length: 501 }, () => "019b0000-0000-7000-8000-000000000001") },
  ],
  ["reconciliation", { reconciliation: { ...reconciliation, source: "" } }],
  ["reconciliation", { reconciliation: { ...reconciliation, treeSize: 0n, entryCount: 0n } }],
  ["reconciliation", { reconciliation: { ...reconciliation, rootHash: new Uint8Array(31) } }],
  ["reconciliation", { reconciliation: { ...reconciliation, entryCount: 10n } }],
  ["reconciliation", { reconciliation: { ...reconciliation, entriesDigest: new Uint8Array() } }],
  [
    "the event",
    { roles: 0, actor: { id: "a", kind: ActorKind.PERSON, roles: ["x".repeat(62_000)] } } as never,
  ],
])("an event is held to what its form promises: %s", (field, changes) => {
  const { first } = judgeEntries([makeCase().act("created", "ann", changes)]);
  expect(first).toMatchObject({ kind: "rule", what: `The event breaks the form of an event: ${field}.` });
});

test("an event without actor or time is held to what its form promises", () => {
  const whole = fromBinary(EventSchema, makeCase().act("created", "ann"));
  for (const field of ["actor", "occurredAt", "recordedAt"] as const) {
    const { [field]: _left, ...rest } = whole;
    const bytes = toBinary(EventSchema, create(EventSchema, rest));
    expect(judgeEntries([bytes]).first?.what).toMatch(
      /breaks the form of an event: (actor|occurred_at|recorded_at)/,
    );
  }
});

test("an event of another tenant is none of this log's", () => {
  const { first } = judgeEntries([makeCase().act("created", "ann", { tenantId: "other" })]);
  expect(first).toMatchObject({ kind: "rule", expected: "acme", found: "other" });
});

test("bytes that are no event are told by their leaf", () => {
  const { first } = judgeEntries([makeCase().act("created", "ann"), Buffer.from("not an event")]);
  expect(first).toMatchObject({ kind: "rule", what: /no event/, place: { leafIndex: 1 } });
});

test("two events of one id are told, though they are of different histories", () => {
  const [one, other] = [makeCase(), makeCase()];
  const { eventId } = fromBinary(EventSchema, one.act("created", "ann"));
  other.act("created", "ann", { eventId });
  const { first } = judgeEntries([...one.entries, ...other.entries]);
  expect(first).toMatchObject({ kind: "rule", found: "that of leaf 0", place: { leafIndex: 1 } });
});

test("ids of a history go up", () => {
  const made = makeCase();
  made.act("created", "ann");
  made.act("submitted", "ann", { eventId: "01000000-0000-7000-8000-000000000000" });
  expect(judgeEntries(made.entries).first?.what).toMatch(/ids of a history do not go up/);
});

test("a tombstone's own id may lie behind those of the events that follow it", () => {
  const made = makeCase();
  made.act("created", "ann");
  made.bury("updated", "ann");
  made.act("submitted", "ann");
  expect(judgeEntries(made.entries).first).toBeUndefined();
});

test("behind a tombstone the chain goes on from what it hides, and from nothing else", () => {
  const made = makeCase();
  made.act("created", "ann");
  made.bury("updated", "ann");
  const [, tombstone] = made.entries;
  const forged = makeCase();
  expect(tombstone).toBeDefined();
  forged.act("created", "ann");
  made.act("submitted", "ann", { previousDigest: new Uint8Array(32) });
  expect(judgeEntries(made.entries).first).toMatchObject({ kind: "chain", place: { leafIndex: 2 } });
});

test("of several faults that of the lowest leaf is told, also when it rests on a policy", () => {
  const early = underReview(twoOf);
  const late = makeCase();
  late.act("created", "ann");
  late.act("created", "ann");
  expect(judgeEntries([...early.entries, ...late.entries]).first).toMatchObject({ place: { leafIndex: 0 } });
  expect(judgeEntries([...late.entries, ...early.entries]).first).toMatchObject({ place: { leafIndex: 1 } });
});
