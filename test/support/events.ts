import { createHash, randomUUID } from "node:crypto";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { v7 } from "uuid";
import { ActorKind, EventSchema, type Event } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { auditTenant, testSource } from "./audit-service.ts";

/** An event as a source sends it. */
export interface TestEvent {
  readonly eventId: string;
  readonly subject: string;
  readonly sequence: bigint;
  readonly bytes: Uint8Array;
  readonly digest: Uint8Array;
}

export type EventChanges = Exclude<MessageInitShape<typeof EventSchema>, Event>;

/** Makes one event: valid, unless `changes` say otherwise. */
export function makeEvent(changes: EventChanges = {}): TestEvent {
  const message = create(EventSchema, {
    eventId: v7(),
    source: testSource,
    type: "test.thing.changed",
    schemaVersion: 1,
    tenantId: auditTenant,
    subject: randomUUID(),
    subjectSequence: 1n,
    actor: { id: "ada", kind: ActorKind.PERSON, roles: ["clerk"] },
    occurredAt: { seconds: 1_700_000_000n, nanos: 123_456_789 },
    recordedAt: { seconds: 1_700_000_001n },
    ...changes,
  });
  return toTestEvent(toBinary(EventSchema, message), message);
}

/** Makes a subject's first `length` events, each naming the one before. `changes` may tell them apart by sequence. */
export function makeChain(
  length: number,
  changes: EventChanges | ((sequence: number) => EventChanges) = {},
): TestEvent[] {
  const subject = randomUUID();
  const events: TestEvent[] = [];
  for (let sequence = 1; sequence <= length; sequence++) {
    const previous = events.at(-1);
    events.push(
      makeEvent({
        subject,
        subjectSequence: BigInt(sequence),
        ...(previous && { previousDigest: previous.digest }),
        ...(typeof changes === "function" ? changes(sequence) : changes),
      }),
    );
  }
  return events;
}

/** The same event with bytes of another schema behind it: still the same message to a reader that does not know them. */
export function withUnknownField(event: TestEvent): TestEvent {
  const unknown = Buffer.from([0xfa, 0x3e, 0x03, 0x61, 0x62, 0x63]); // Field 1007, three bytes.
  const { eventId, subject, sequence: subjectSequence } = event;
  return toTestEvent(Buffer.concat([event.bytes, unknown]), { eventId, subject, subjectSequence });
}

function toTestEvent(
  bytes: Uint8Array,
  { eventId, subject, subjectSequence }: { eventId: string; subject: string; subjectSequence: bigint },
): TestEvent {
  const digest = createHash("sha256").update(bytes).digest();
  return { eventId, subject, sequence: subjectSequence, bytes, digest };
}
