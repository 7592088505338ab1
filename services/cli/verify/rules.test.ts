import { expect, test } from "vitest";
import { ActorKind } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import {
  after,
  appealDecided,
  approved,
  at,
  created,
  dayMs,
  imported,
  judgeEntries,
  twoOf,
  underReview,
} from "#test/support/made-cases.ts";
import { makeCase, makeChainOf, makePolicy, madeStartMs } from "#test/support/made-history.ts";

test.each<[name: string, entries: () => readonly Uint8Array[]]>([
  ["a case that is appealed to its end", () => appealDecided().entries],
  [
    "two approvals under a policy that is told behind the case",
    () => [
      ...after(underReview(twoOf), ["approval_recorded", "rita"], ["approved", "rob"]),
      makePolicy("two"),
    ],
  ],
  [
    "a first approval and another view of the same person",
    () => [
      makePolicy("two"),
      ...after(underReview(twoOf), ["approval_recorded", "rita"], ["rejected", "rita"]),
    ],
  ],
  [
    "an override there and back in the same words, and an appeal within the window of the second",
    () =>
      after(
        approved(),
        ["override_proposed", "sue"],
        ["override_proposed", "sue", { reason: "better words" }],
        ["overridden", "sam", { reason: "better words" }],
        ["override_proposed", "sue"],
        ["overridden", "sam", at(madeStartMs + 40 * dayMs)],
        ["appealed", "cleo", at(madeStartMs + 70 * dayMs)],
      ),
  ],
  [
    "holds, their release and an erasure, in any state",
    () =>
      after(
        created(),
        ["held", "otto"],
        ["submitted", "ann"],
        ["hold_released", "otto"],
        ["erased", "otto"],
        ["reviewer_assigned", "sue", { assigneeId: "rita" }],
      ),
  ],
  [
    "imported actions at their own times",
    () =>
      after(
        makeCase(),
        ["created", "", imported("ann", madeStartMs - 9 * dayMs)],
        ["submitted", "", imported("ben", madeStartMs - 9 * dayMs)],
        ["reviewer_assigned", "sue", { assigneeId: "rita" }],
      ),
  ],
  [
    "events of other products, and of this one that are not about cases",
    () => {
      const other = makeChainOf("boat-7", { source: "harbour/register", type: "harbour.boat.moored" });
      const actor = { id: "x", kind: ActorKind.SERVICE };
      other.append({ actor });
      other.append({ actor, type: "caseflow.case.approved", fromState: "draft", toState: "approved" });
      const delivery = makeChainOf("delivery", {
        source: "caseflow/case",
        type: "caseflow.delivery.redriven",
      });
      delivery.append({ actor });
      return [...other.entries, ...delivery.entries];
    },
  ],
  [
    "clocks of several services that differ",
    () =>
      after(makeCase(), ["created", "ann", at(madeStartMs + dayMs)], ["submitted", "ann", at(madeStartMs)]),
  ],
])("nothing is held against %s", (_, entries) => {
  expect(judgeEntries(entries()).first).toBeUndefined();
});

test.each<[name: string, entries: () => readonly Uint8Array[]]>([
  [
    "an approval",
    () => {
      const made = underReview(twoOf);
      made.bury("approval_recorded", "rita");
      made.act("approved", "rob");
      made.act("closed", "sue");
      return [...made.entries, makePolicy("two")];
    },
  ],
  [
    "a creation and a submission, one behind the other",
    () => {
      const made = makeCase();
      made.bury("created", "ann");
      made.bury("submitted", "ann");
      made.act("reviewer_assigned", "sue", { assigneeId: "rita" });
      made.act("review_started", "rita");
      made.act("approved", "rita");
      return made.entries;
    },
  ],
  [
    "an override, from which the window ran",
    () => {
      const made = approved();
      made.act("override_proposed", "sam");
      made.bury("overridden", "sue");
      made.act("appealed", "cleo", at(madeStartMs + 45 * dayMs));
      return made.entries;
    },
  ],
  [
    "what opened and closed a hold, and the assignment",
    () => {
      const made = makeCase();
      made.act("created", "ann");
      made.act("held", "otto");
      made.bury("hold_released", "otto");
      made.act("erased", "otto");
      made.act("submitted", "ann", { fromState: "draft" });
      return made.entries.slice(0, 4);
    },
  ],
  [
    "the review's start",
    () => {
      const made = makeCase();
      made.act("created", "ann");
      made.act("submitted", "ann");
      made.bury("reviewer_assigned", "sue");
      made.bury("review_started", "rita");
      made.act("approved", "rita");
      return made.entries;
    },
  ],
  [
    "a policy",
    () => {
      const chain = makeChainOf("policy/two", { source: "caseflow/case" });
      chain.bury({ type: "caseflow.policy.set", actor: { id: "otto", kind: ActorKind.PERSON } });
      const made = underReview(twoOf);
      made.act("approval_recorded", "rita");
      return [...made.entries, ...chain.entries];
    },
  ],
])("nothing is concluded from what a tombstone hides: %s", (_, entries) => {
  const { first, tombstoneCount } = judgeEntries(entries());
  expect(first).toBeUndefined();
  expect(tombstoneCount).toBeGreaterThan(0);
});
