import fc from "fast-check";
import { expect, test } from "vitest";

import { type Arrival, type LogState, type Outcome, planAppend, type SubjectHead } from "./append.ts";

const empty: LogState = { size: 0n, recorded: [], heads: [] };

/** An event of subject `s` unless told otherwise; ids and digests are named after the sequence. */
function arrival(sequence: number, changes: Partial<Arrival> = {}): Arrival {
  const digest = changes.digest ?? `digest-${sequence}`;
  return {
    eventId: `id-${sequence}`,
    source: "a/b",
    subject: "s",
    sequence: BigInt(sequence),
    previousDigest: sequence === 1 ? "" : `digest-${sequence - 1}`,
    digest,
    linkDigest: digest,
    ...changes,
  };
}

/** What stands in for the event of that sequence, unless it claims to stand in for another. */
const tombstone = (sequence: number, changes: Partial<Arrival> = {}) =>
  arrival(sequence, {
    eventId: `tombstone-${sequence}`,
    digest: `tombstone-digest-${sequence}`,
    linkDigest: `digest-${sequence}`,
    ...changes,
  });

const head = (lastSequence: number, changes: Partial<SubjectHead> = {}): SubjectHead => ({
  source: "a/b",
  subject: "s",
  lastSequence: BigInt(lastSequence),
  lastDigest: `digest-${lastSequence}`,
  ...changes,
});

const applied = (leafIndex: number): Outcome => ({ kind: "applied", leafIndex: BigInt(leafIndex) });
const duplicate = (leafIndex: number): Outcome => ({ kind: "duplicate", leafIndex: BigInt(leafIndex) });
const outOfOrder = (next: number): Outcome => ({ kind: "out_of_order", nextSequence: BigInt(next) });
const rejected = (reason: "EVENT_ID_REUSED" | "SEQUENCE_REUSED" | "CHAIN_BROKEN"): Outcome => ({
  kind: "rejected",
  reason,
});

const atTwo: LogState = {
  size: 7n,
  recorded: [
    { eventId: "id-1", digest: "digest-1", leafIndex: 3n },
    { eventId: "id-2", digest: "digest-2", leafIndex: 6n },
  ],
  heads: [head(2)],
};

const rows: readonly [string, LogState, readonly Arrival[], readonly Outcome[]][] = [
  ["the first event of a subject opens it", empty, [arrival(1)], [applied(0)]],
  ["the next event of a subject follows the log", atTwo, [arrival(3)], [applied(7)]],
  ["events of one batch chain", empty, [arrival(1), arrival(2), arrival(3)], [0, 1, 2].map(applied)],
  ["an event that is there is a duplicate", atTwo, [arrival(1), arrival(2)], [duplicate(3), duplicate(6)]],
  ["an event twice in a batch applies once", empty, [arrival(1), arrival(1)], [applied(0), duplicate(0)]],
  ["an event too early waits", atTwo, [arrival(4)], [outOfOrder(3)]],
  ["an event of an unknown subject waits for the first", empty, [arrival(2)], [outOfOrder(1)]],
  [
    "an event before its predecessor in a batch waits, and may come again in it",
    empty,
    [arrival(2), arrival(1), arrival(2)],
    [outOfOrder(1), applied(0), applied(1)],
  ],
  [
    "other bytes under a known id are refused, whatever their sequence",
    atTwo,
    [arrival(2, { digest: "x" }), arrival(3, { eventId: "id-1", digest: "x" })],
    [rejected("EVENT_ID_REUSED"), rejected("EVENT_ID_REUSED")],
  ],
  [
    "other bytes under an id of the same batch are refused",
    empty,
    [arrival(1), arrival(2, { eventId: "id-1" })],
    [applied(0), rejected("EVENT_ID_REUSED")],
  ],
  [
    "another event at a taken sequence is refused",
    atTwo,
    [arrival(2, { eventId: "new" }), arrival(1, { eventId: "newer" })],
    [rejected("SEQUENCE_REUSED"), rejected("SEQUENCE_REUSED")],
  ],
  [
    "an event that names another predecessor is refused",
    atTwo,
    [arrival(3, { previousDigest: "digest-1" })],
    [rejected("CHAIN_BROKEN")],
  ],
  [
    "an event that names no predecessor is refused after the first",
    atTwo,
    [arrival(3, { previousDigest: "" })],
    [rejected("CHAIN_BROKEN")],
  ],
  [
    "a first event that names a predecessor is refused",
    empty,
    [arrival(1, { previousDigest: "digest-0" })],
    [rejected("CHAIN_BROKEN")],
  ],
  [
    "a refused event holds up its successors, and no other subject",
    empty,
    [arrival(1, { previousDigest: "x" }), arrival(2), arrival(1, { eventId: "t-1", subject: "t" })],
    [rejected("CHAIN_BROKEN"), outOfOrder(1), applied(0)],
  ],
  [
    "after a tombstone the chain goes on from the event that it stands in for",
    empty,
    [arrival(1), tombstone(2), arrival(3), arrival(4)],
    [0, 1, 2, 3].map(applied),
  ],
  [
    "a tombstone may stand for a subject's first event, and follow another",
    empty,
    [tombstone(1), tombstone(2), arrival(3)],
    [0, 1, 2].map(applied),
  ],
  [
    "an event that names the tombstone's own digest is refused",
    empty,
    [arrival(1), tombstone(2), arrival(3, { previousDigest: "tombstone-digest-2" })],
    [applied(0), applied(1), rejected("CHAIN_BROKEN")],
  ],
  [
    "behind a tombstone that claims to stand in for another event, the next event is refused",
    empty,
    [arrival(1), tombstone(2, { linkDigest: "digest-forged" }), arrival(3)],
    [applied(0), applied(1), rejected("CHAIN_BROKEN")],
  ],
  [
    "a tombstone that names another predecessor than the event it stands in for is refused",
    atTwo,
    [tombstone(3, { previousDigest: "digest-1" })],
    [rejected("CHAIN_BROKEN")],
  ],
  [
    "a tombstone for an event that is there is refused, and so is an event whose tombstone is there",
    empty,
    [arrival(1), tombstone(1), tombstone(2), arrival(2), arrival(3)],
    [applied(0), rejected("SEQUENCE_REUSED"), applied(1), rejected("SEQUENCE_REUSED"), applied(2)],
  ],
  [
    "a tombstone that is there is a duplicate",
    atTwo,
    [tombstone(3), tombstone(3)],
    [applied(7), duplicate(7)],
  ],
  [
    "the same subject of another source is another subject",
    atTwo,
    [arrival(1, { eventId: "other", source: "c/d" })],
    [applied(7)],
  ],
];

test.each(rows)("%s", (_, log, arrivals, expected) => {
  expect(planAppend(log, arrivals).outcomes).toEqual(expected);
});

test("what is to be stored is what was applied, with the heads and the size it leads to", () => {
  const other = arrival(1, { eventId: "t-1", subject: "t", digest: "t-digest" });
  const plan = planAppend(atTwo, [arrival(3), arrival(2), other, arrival(4), arrival(9)]);
  expect(plan.appended).toEqual([
    { arrival: arrival(3), leafIndex: 7n },
    { arrival: other, leafIndex: 8n },
    { arrival: arrival(4), leafIndex: 9n },
  ]);
  expect(plan.heads).toEqual([
    head(4),
    { source: "a/b", subject: "t", lastSequence: 1n, lastDigest: "t-digest" },
  ]);
  expect(plan.size).toBe(10n);
});

test("the head behind a tombstone is the digest of the event that it stands in for", () => {
  expect(planAppend(atTwo, [tombstone(3)]).heads).toEqual([head(3)]);
});

test("a batch has the effect of its events sent one by one", () => {
  const anyArrival = fc.record({
    eventId: fc.constantFrom("p", "q", "r", "s", "t", "u"),
    source: fc.constant("a/b"),
    subject: fc.constantFrom("s", "t"),
    sequence: fc.bigInt(1n, 4n),
    previousDigest: fc.constantFrom("", "1", "2"),
    digest: fc.constantFrom("1", "2"),
    linkDigest: fc.constantFrom("1", "2"),
  });
  fc.assert(
    fc.property(fc.array(anyArrival, { maxLength: 12 }), (arrivals) => {
      const whole = planAppend(empty, arrivals);
      let log = empty;
      const outcomes = arrivals.map((one) => {
        const plan = planAppend(log, [one]);
        log = follow(log, plan);
        return plan.outcomes[0];
      });
      expect(whole.outcomes).toEqual(outcomes);
      expect(whole.size).toBe(log.size);
      expect(whole.appended.map(({ leafIndex }) => leafIndex)).toEqual(
        whole.appended.map((_, i) => BigInt(i)),
      );
    }),
  );
});

/** The log after a plan was carried out. */
function follow(log: LogState, plan: ReturnType<typeof planAppend<Arrival>>): LogState {
  const moved = new Set(plan.heads.map(({ subject }) => subject));
  return {
    size: plan.size,
    recorded: [
      ...log.recorded,
      ...plan.appended.map(({ arrival: { eventId, digest }, leafIndex }) => ({ eventId, digest, leafIndex })),
    ],
    heads: [...log.heads.filter(({ subject }) => !moved.has(subject)), ...plan.heads],
  };
}
