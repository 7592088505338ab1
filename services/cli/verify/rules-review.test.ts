import { expect, test } from "vitest";
import {
  after,
  created,
  judgeEntries,
  through,
  twoOf,
  underReview,
  approved,
} from "#test/support/made-cases.ts";
import { makePolicy } from "#test/support/made-history.ts";

/** Each log ends with the event that breaks the rule, unless `leaf` says otherwise. */
test.each<[rule: string, entries: () => readonly Uint8Array[], told: RegExp, leaf?: number]>([
  [
    "a reviewer is somebody",
    () => after(created(), ["submitted", "ann"], ["reviewer_assigned", "sue"]),
    /nobody is named/,
  ],
  [
    "a submitter is not assigned",
    () => after(created(), ["submitted", "ann"], ["reviewer_assigned", "sue", { assigneeId: "ann" }]),
    /named the reviewer of a case that ann had submitted/,
  ],
  [
    "the assigned reviewer starts",
    () =>
      after(
        created(),
        ["submitted", "ann"],
        ["reviewer_assigned", "sue", { assigneeId: "rita" }],
        ["review_started", "rob"],
      ),
    /than the assigned reviewer started/,
  ],
  [
    "nobody starts a review without an assignment",
    () => after(created(), ["submitted", "ann"], ["review_started", "rob"]),
    /than the assigned reviewer started/,
  ],
  [
    "a submitter does not approve",
    () => after(underReview(), ["approved", "ben"]),
    /ben approved a case that ben had submitted/,
  ],
  [
    "a submitter does not approve through a program",
    () => after(underReview(), ["approved", "", through("ben", "reviewer")]),
    /ben approved a case that ben had submitted/,
  ],
  [
    "a submitter does not reject",
    () => after(underReview(), ["rejected", "ben"]),
    /ben rejected a case that ben had submitted/,
  ],
  [
    "nobody approves twice",
    () => [
      makePolicy("two"),
      ...after(underReview(twoOf), ["approval_recorded", "rob"], ["approved", "rob"]),
    ],
    /rob approved the same case twice/,
  ],
  [
    "nobody approves twice through a program",
    () => [
      makePolicy("two"),
      ...after(
        underReview(twoOf),
        ["approval_recorded", "rob"],
        ["approved", "", through("rob", "reviewer")],
      ),
    ],
    /rob approved the same case twice/,
  ],
  [
    "with two approvals the last is not the review starter's",
    () => [
      makePolicy("two"),
      ...after(underReview(twoOf), ["approval_recorded", "rob"], ["approved", "rita"]),
    ],
    /rita started the review, and gave the approval that decided it/,
  ],
  [
    "one approval of two does not decide",
    () => [makePolicy("two"), ...after(underReview(twoOf), ["approved", "rob"])],
    /fewer people than it takes/,
  ],
  [
    "two approvals of two decide",
    () => [
      makePolicy("two"),
      ...after(underReview(twoOf), ["approval_recorded", "rita"], ["approval_recorded", "rob"]),
    ],
    /has its approvals and was not decided/,
  ],
  [
    "a rejection has a reason",
    () => after(underReview(), ["rejected", "rita", { reason: "  " }]),
    /gives no reason/,
  ],
  [
    "what was reviewed is what is decided",
    () => after(underReview(), ["approved", "rita", { decisionHash: new Uint8Array(32) }]),
    /about something else than what was under review/,
  ],
  [
    "a decision has a hash",
    () => after(underReview(), ["approved", "rita", { decisionHash: new Uint8Array() }]),
    /about something else/,
  ],
  [
    "what decides nothing has no decision hash",
    () => after(approved(), ["closed", "sue", { decisionHash: new Uint8Array(32) }]),
    /what only a decision carries/,
  ],
  [
    "1 or 2 must approve",
    () => after(underReview(), ["approved", "rita", { approvalsRequired: 0 }]),
    /number of approvals required is none/,
  ],
  [
    "the number of approvals stays",
    () => [
      makePolicy("two"),
      ...after(
        underReview(twoOf),
        ["approval_recorded", "rita"],
        ["approved", "rob", { approvalsRequired: 1 }],
      ),
    ],
    /changed within the case/,
  ],
])("a rule of reviews: %s", (_, entries, told, leaf) => {
  const made = entries();
  const { first } = judgeEntries(made);
  expect(first?.what).toMatch(told);
  expect(first).toMatchObject({ kind: "rule", place: { leafIndex: leaf ?? made.length - 1 } });
});
