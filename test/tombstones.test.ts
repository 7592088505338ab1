import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { AuditClient } from "#libs/client/audit-client.ts";
import { DeliveryOutcomeSchema } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { findBreak } from "#services/local/audit-trail.ts";
import { startAuditService, type AuditServiceFixture } from "./support/audit-service.ts";
import { makeChain, makeEvent, type EventChanges, type TestEvent } from "./support/events.ts";

/* What the audit service makes of events that stand in for others: each is sent in a batch of its own, so that it meets stored heads. */

let audit: AuditServiceFixture;
let source: AuditClient;
beforeAll(async () => {
  audit = await startAuditService();
  source = await audit.source();
});
afterAll(() => audit[Symbol.asyncDispose]());

async function deliver(event: TestEvent): Promise<string> {
  const { outcomes } = await source.recordEvents({ events: [event.bytes] });
  const { outcome, reason } = outcomes[0]!; // One an event.
  return reason || (DeliveryOutcomeSchema.value[outcome]?.name ?? "").replace("DELIVERY_OUTCOME_", "");
}

/** A tombstone in the place of `original`, which follows `previous`, unless `changes` say otherwise. */
function bury(original: TestEvent, previous: TestEvent | undefined, changes: EventChanges = {}): TestEvent {
  const { subject, sequence: subjectSequence, digest: originalDigest, eventId: originalEventId } = original;
  return makeEvent({
    subject,
    subjectSequence,
    ...(previous && { previousDigest: previous.digest }),
    tombstone: { originalDigest, originalEventId, reason: "it cannot be told" },
    ...changes,
  });
}

const threeOf = () => makeChain(3) as [TestEvent, TestEvent, TestEvent];

async function trailOf({ subject }: TestEvent) {
  return (await (await audit.auditor()).listEvents({ filter: { subject } })).events;
}

test("a subject goes on behind a tombstone, and anybody can check the chain from the log alone", async () => {
  const [first, second, third] = threeOf();
  const tombstone = bury(second, first);
  for (const event of [first, tombstone, third]) expect(await deliver(event)).toBe("APPLIED");
  for (const event of [first, tombstone, third]) expect(await deliver(event)).toBe("DUPLICATE");
  const trail = await trailOf(first);
  expect(trail.map(({ event }) => event?.eventId)).toEqual(
    [first, tombstone, third].map(({ eventId }) => eventId),
  );
  expect(findBreak(trail)).toBeUndefined();
});

test("two tombstones in a row, from the first event on, leave the chain whole", async () => {
  const [first, second, third] = threeOf();
  for (const event of [bury(first, undefined), bury(second, first), third]) {
    expect(await deliver(event)).toBe("APPLIED");
  }
  expect(findBreak(await trailOf(first))).toBeUndefined();
});

test("behind a tombstone with a forged original digest the next event is refused", async () => {
  const [first, second, third] = threeOf();
  const tombstone = { originalDigest: randomBytes(32), originalEventId: second.eventId, reason: "forged" };
  expect(await deliver(first)).toBe("APPLIED");
  expect(await deliver(bury(second, first, { tombstone }))).toBe("APPLIED");
  expect(await deliver(third)).toBe("CHAIN_BROKEN");
});

test("an event that was made behind the tombstone's own bytes is refused", async () => {
  const [first, second] = threeOf();
  const tombstone = bury(second, first);
  for (const event of [first, tombstone]) await deliver(event);
  const forged = makeEvent({ subject: first.subject, subjectSequence: 3n, previousDigest: tombstone.digest });
  expect(await deliver(forged)).toBe("CHAIN_BROKEN");
});

test.each<[string, (events: readonly [TestEvent, TestEvent, TestEvent]) => TestEvent, string]>([
  [
    "a tombstone that follows another event than its original did",
    ([first, second]) => bury(second, first, { previousDigest: randomBytes(32) }),
    "CHAIN_BROKEN",
  ],
  [
    "a tombstone at a sequence that is taken",
    ([first, second]) => bury(second, first, { subjectSequence: 1n }),
    "SEQUENCE_REUSED",
  ],
  [
    "an event that closes the gap without a tombstone",
    ([first, second]) =>
      makeEvent({ subject: first.subject, subjectSequence: 2n, previousDigest: second.digest }),
    "CHAIN_BROKEN",
  ],
])("%s is refused", async (_what, forge, told) => {
  const events = threeOf();
  await deliver(events[0]);
  expect(await deliver(forge(events))).toBe(told);
  expect(await trailOf(events[0])).toHaveLength(1);
});

test("an event and its tombstone exclude each other, whichever comes first", async () => {
  const [first, second, third] = threeOf();
  for (const event of [first, second]) await deliver(event);
  expect(await deliver(bury(second, first))).toBe("SEQUENCE_REUSED");
  const [other, given] = threeOf();
  for (const event of [other, bury(given, other)]) await deliver(event);
  expect(await deliver(given)).toBe("SEQUENCE_REUSED");
  expect(await deliver(third)).toBe("APPLIED");
});
