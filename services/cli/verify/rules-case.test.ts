import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { ActorKind } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import {
  after,
  appealDecided,
  appealed,
  approved,
  created,
  dayMs,
  imported,
  judgeEntries,
  twoOf,
  underReview,
} from "#test/support/made-cases.ts";
import { type Changes, makeCase, makeChainOf, makePolicy, madeStartMs } from "#test/support/made-history.ts";

/** Each log ends with the event that breaks the rule, unless `leaf` says otherwise. */
test.each<[rule: string, entries: () => readonly Uint8Array[], told: RegExp, leaf?: number]>([
  ["a case begins by being created", () => [makeCase().act("submitted", "ann")], /without being created/],
  ["a case is created once", () => after(created(), ["created", "ann"]), /created again/],
  [
    "an event begins where the case stands",
    () => after(created(), ["rejected", "rita", { fromState: "under_review" }]),
    /does not begin in the state where the case stood/,
  ],
  [
    "nothing happens in a state that does not allow it",
    () => after(created(), ["review_started", "rita"]),
    /cannot be review started in this state/,
  ],
  [
    "closed never changes state",
    () => after(appealDecided(), ["appealed", "cleo"]),
    /cannot be appealed in this state/,
  ],
  [
    "an event leads where the table says",
    () => after(created(), ["submitted", "ann", { toState: "approved" }]),
    /to which it cannot lead/,
  ],
  [
    "an unknown event of a case is not passed over",
    () => after(created(), ["submitted", "ann", { type: "caseflow.case.blessed" }]),
    /does not know what caseflow.case.blessed/,
  ],
  [
    "an event of another release is not passed over",
    () => [makeCase().act("created", "ann", { schemaVersion: 2 })],
    /schema version 2/,
  ],
  [
    "an inherited name is no event",
    () => [makeCase().act("created", "ann", { type: "caseflow.case.toString" })],
    /does not know/,
  ],
  [
    "an event of a case is about a case",
    () => [
      makeChainOf("boat-7", { source: "caseflow/case", type: "caseflow.case.approved" }).append({
        actor: { id: "x", kind: ActorKind.PERSON },
      }),
    ],
    /about something that is no case/,
  ],
  [
    "whoever acts has the role",
    () =>
      after(underReview(), [
        "approved",
        "rita",
        { actor: { id: "rita", kind: ActorKind.PERSON, roles: ["caseworker"] } },
      ]),
    /asks for the role reviewer/,
  ],
  [
    "an importer is not an operator",
    () => after(approved(), ["erased", "", imported("otto", madeStartMs + dayMs)]),
    /asks for the role operator/,
  ],
  [
    "nothing is recorded before it happened",
    () => [makeCase().act("created", "", imported("ann", madeStartMs, madeStartMs - 1))],
    /recorded before it happened/,
  ],
  [
    "only imported events are dated back",
    () =>
      after(approved(), [
        "appealed",
        "cleo",
        {
          occurredAt: timestampFromMs(madeStartMs + dayMs),
          recordedAt: timestampFromMs(madeStartMs + 100 * dayMs),
        },
      ]),
    /dated back/,
  ],
  [
    "an imported event is not before what the case has",
    () => after(created(), ["submitted", "", imported("ann", madeStartMs - 1)]),
    /before one that the case had already/,
  ],
  [
    "a case keeps its type",
    () => after(created(), ["submitted", "ann", { subjectType: "licence" }]),
    /the type of the case/,
  ],
  [
    "a case keeps its policy",
    () => [...after(created(), ["submitted", "ann", { policyVersion: 1 }]), makePolicy("permit")],
    /the policy version/,
    1,
  ],
  [
    "content changes by an update alone",
    () => after(created(), ["submitted", "ann", { contentCommitment: new Uint8Array(32) }]),
    /the commitment to its content/,
  ],
  [
    "a case commits to its content",
    () => [makeCase().act("created", "ann", { contentCommitment: new Uint8Array() })],
    /does not commit/,
  ],
  [
    "rounds are counted",
    () => after(appealed(), ["appeal_review_started", "jo", { reviewRound: 1 }]),
    /the round of review/,
  ],
  ["a draft is its creator's", () => after(created(), ["updated", "ben"]), /a draft of somebody else's/],
  [
    "an erased draft goes no further",
    () => after(created(), ["erased", "otto"], ["submitted", "ann"]),
    /erased, and yet the draft went on/,
  ],
  [
    "a held case is not erased",
    () => after(approved(), ["held", "otto"], ["erased", "otto"]),
    /erased while the case was on hold/,
  ],
  [
    "a hold has a legal basis",
    () => after(approved(), ["held", "otto", { legalAuthority: "" }]),
    /names no legal authority/,
  ],
  ["an erasure has a reason", () => after(approved(), ["erased", "otto", { reason: "" }]), /gives no reason/],
  [
    "a case is not held twice",
    () => after(approved(), ["held", "otto"], ["held", "otto"]),
    /on hold already/,
  ],
  [
    "an erased case is not held",
    () => after(approved(), ["erased", "otto"], ["held", "otto"]),
    /whose content was erased/,
  ],
  ["no hold is released that is none", () => after(approved(), ["hold_released", "otto"]), /was not on hold/],
  [
    "a case is not erased twice",
    () => after(approved(), ["erased", "otto"], ["erased", "otto"]),
    /erased twice/,
  ],
  [
    "a case's policy is in the log",
    () => underReview(twoOf).entries,
    /policy version 1 of its type, which is not in the log/,
    0,
  ],
  [
    "a policy of another type is another policy",
    () => [...underReview(twoOf).entries, makePolicy("three")],
    /not in the log/,
    0,
  ],
  [
    "a case asks for as many approvals as its policy",
    () => [
      ...after(underReview({ ...twoOf, approvalsRequired: 1 }), ["approved", "rita"]),
      makePolicy("two"),
    ],
    /another than that of policy version 1/,
    5,
  ],
  [
    "where nothing was set one approves",
    () => after(underReview({ approvalsRequired: 2 }), ["approval_recorded", "rita"]),
    /another than that of the built-in policy/,
  ],
])("a rule of cases and policies: %s", (_, entries, told, leaf) => {
  const made = entries();
  const { first } = judgeEntries(made);
  expect(first?.what).toMatch(told);
  expect(first).toMatchObject({ kind: "rule", place: { leafIndex: leaf ?? made.length - 1 } });
});

test.each<[rule: string, changes: Changes]>([
  ["sets one", { type: "caseflow.policy.dropped" }],
  ["is of this release", { schemaVersion: 2 }],
  ["is of the type it is about", { subjectType: "other" }],
  ["counts its versions", { policyVersion: 2 }],
  ["follows its last version", { fromState: "in_force" }],
  ["is in force", { toState: "" }],
  ["asks for 1 or 2 approvals", { approvalsRequired: 3 }],
  ["has a window of ten years at most", { appealWindowDays: 3_651 }],
  ["has a reason", { reason: " " }],
  ["is set by an operator", { actor: { id: "x", kind: ActorKind.PERSON, roles: ["supervisor"] } }],
  ["is not dated back", { occurredAt: timestampFromMs(madeStartMs - 1) }],
])("a policy %s", (_, changes) => {
  expect(judgeEntries([makePolicy("two")]).first).toBeUndefined();
  expect(judgeEntries([makePolicy("two", changes)]).first).toMatchObject({
    kind: "rule",
    place: { leafIndex: 0 },
  });
});

test.each<[rule: string, changes: Changes, told: RegExp]>([
  [
    "begins where the case stood",
    { fromState: "submitted" },
    /does not begin in the state where the case stood/,
  ],
  ["hides nothing that could not have been", { toState: "approved" }, /cannot have led from where to where/],
  [
    "is set by an operator",
    { actor: { id: "x", kind: ActorKind.PERSON, roles: ["supervisor"] } },
    /without the role operator/,
  ],
  [
    "is of a kind that is known",
    { type: "caseflow.case.submitted" },
    /does not know what caseflow.case.submitted/,
  ],
])("a tombstone %s", (_, changes, told) => {
  const sound = created();
  sound.bury("submitted", "ann");
  expect(judgeEntries(sound.entries).first).toBeUndefined();
  const made = created();
  made.bury("submitted", "ann", changes);
  expect(judgeEntries(made.entries).first).toMatchObject({
    kind: "rule",
    what: expect.stringMatching(told),
    place: { leafIndex: 1 },
  });
});
