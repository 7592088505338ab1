import { createHash } from "node:crypto";

import { create, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { type AuditedEvent, AuditedEventSchema } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";

import { findBreak } from "./audit-trail.ts";

test("an untouched trail holds together", () => {
  expect(findBreak(makeTrail(3))).toBeUndefined();
});

test("a trail with a tombstone holds together when the next event names what it stands in for", () => {
  const [first, given, third] = makeTrail(3) as [AuditedEvent, AuditedEvent, AuditedEvent];
  const stone = (originalDigest: Uint8Array) => makeEvent(2, first.digest, originalDigest);
  expect(findBreak([first, stone(given.digest), third])).toBeUndefined();
  expect(findBreak([first, stone(first.digest), third])).toMatch(/event 3 does not name the digest/);
  expect(findBreak([first, stone(given.digest), makeEvent(3, stone(given.digest).digest)])).toMatch(
    /event 3 does not name the digest/,
  );
});

test.each([
  ["an event that was left out", (trail: AuditedEvent[]) => trail.toSpliced(1, 1), /event 2 is missing/],
  ["two events that changed places", ([a, b, c]: AuditedEvent[]) => [b!, a!, c!], /event 1 is missing/],
  [
    "an event whose bytes were changed",
    (trail: AuditedEvent[]) => {
      trail[1]!.eventBytes = trail[1]!.eventBytes.map((byte) => byte ^ 1);
      return trail;
    },
    /the digest of event 2 is not that of its bytes/,
  ],
  [
    "an event that was replaced by another",
    ([a, , c]: AuditedEvent[]) => [a!, makeEvent(2, new Uint8Array(32)), c!],
    /event 2 does not name the digest/,
  ],
  [
    "a last event that was made anew",
    ([a, b]: AuditedEvent[]) => [a!, b!, makeEvent(3, a!.digest)],
    /event 3 does not name the digest/,
  ],
])("%s is found", (_what, tamper, told) => {
  expect(findBreak(tamper(makeTrail(3)))).toMatch(told);
});

function makeTrail(length: number): AuditedEvent[] {
  const trail: AuditedEvent[] = [];
  for (let sequence = 1; sequence <= length; sequence++) {
    trail.push(makeEvent(sequence, trail.at(-1)?.digest ?? new Uint8Array()));
  }
  return trail;
}

function makeEvent(sequence: number, previousDigest: Uint8Array, originalDigest?: Uint8Array): AuditedEvent {
  const event = create(EventSchema, {
    subjectSequence: BigInt(sequence),
    previousDigest,
    ...(originalDigest && { tombstone: { originalDigest } }),
  });
  const eventBytes = toBinary(EventSchema, event);
  const digest = createHash("sha256").update(eventBytes).digest();
  return create(AuditedEventSchema, { event, eventBytes, digest });
}
