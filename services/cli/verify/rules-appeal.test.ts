import { fromBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import {
  after,
  appealed,
  approved,
  at,
  dayMs,
  judgeEntries,
  through,
  twoOf,
  underReview,
} from "#test/support/made-cases.ts";
import { makePolicy, madeStartMs } from "#test/support/made-history.ts";

/** Each log ends with the event that breaks the rule, unless `leaf` says otherwise. */
test.each<[rule: string, entries: () => readonly Uint8Array[], told: RegExp, leaf?: number]>([
  ["an appeal has grounds", () => after(approved(), ["appealed", "cleo", { reason: "" }]), /gives no reason/],
  [
    "an appeal comes within the built-in window",
    () => after(approved(), ["appealed", "cleo", at(madeStartMs + 31 * dayMs)]),
    /outside of the window of the built-in policy/,
  ],
  [
    "an appeal comes within the policy's window",
    () => [
      ...after(
        underReview(twoOf),
        ["approval_recorded", "rita"],
        ["approved", "rob"],
        ["appealed", "cleo", at(madeStartMs + 15 * dayMs)],
      ),
      makePolicy("two"),
    ],
    /outside of the window of policy version 1/,
    7,
  ],
  [
    "where a policy knows no appeal there is none",
    () => [
      ...after(underReview({ type: "final", policyVersion: 1 }), ["approved", "rita"], ["appealed", "cleo"]),
      makePolicy("final", { approvalsRequired: 1, appealWindowDays: 0 }),
    ],
    /outside of the window/,
    6,
  ],
  [
    "an appeal is not reviewed by whoever started the review, also when another was assigned later",
    () => after(underReview(), ["approved", "rob"], ["appealed", "cleo"], ["appeal_review_started", "rita"]),
    /after having had a part/,
  ],
  [
    "an appeal is decided by its reviewer",
    () => after(appealed(), ["appeal_review_started", "jo"], ["appeal_approved", "rob"]),
    /than whoever reviewed the appeal/,
  ],
  [
    "an appeal's decision is about the appeal's review",
    () => {
      const made = appealed();
      made.act("appeal_review_started", "jo");
      const first = fromBinary(EventSchema, made.entries[5]!).decisionHash;
      made.act("appeal_approved", "jo", { decisionHash: first });
      return made.entries;
    },
    /about something else/,
  ],
  [
    "an appeal's decision has a reason",
    () => after(appealed(), ["appeal_review_started", "jo"], ["appeal_approved", "jo", { reason: "" }]),
    /gives no reason/,
  ],
  ["an override was proposed", () => after(approved(), ["overridden", "sue"]), /nobody had proposed/],
  [
    "an override takes two",
    () => after(approved(), ["override_proposed", "sue"], ["overridden", "sue"]),
    /sue proposed an override and carried it out alone/,
  ],
  [
    "an override takes two people, whatever programs they use",
    () => after(approved(), ["override_proposed", "sue"], ["overridden", "", through("sue", "supervisor")]),
    /sue proposed an override and carried it out alone/,
  ],
  [
    "both say the same",
    () =>
      after(
        approved(),
        ["override_proposed", "sue"],
        ["overridden", "sam", { legalAuthority: "section 13" }],
      ),
    /another reason or legal authority/,
  ],
  [
    "an override names its authority",
    () => after(approved(), ["override_proposed", "sue", { legalAuthority: "" }]),
    /names no legal authority/,
  ],
  [
    "a proposal is not repeated",
    () => after(approved(), ["override_proposed", "sue"], ["override_proposed", "sam"]),
    /proposed twice/,
  ],
  [
    "a submitter does not propose an override",
    () => after(approved(), ["override_proposed", "ben"]),
    /a case that ben had submitted/,
  ],
  [
    "a submitter does not carry an override out",
    () => after(approved(), ["override_proposed", "sue"], ["overridden", "ben"]),
    /a case that ben had submitted/,
  ],
  [
    "an override is carried out once",
    () => after(approved(), ["override_proposed", "sue"], ["overridden", "sam"], ["overridden", "sam"]),
    /nobody had proposed/,
  ],
])("a rule of appeals and overrides: %s", (_, entries, told, leaf) => {
  const made = entries();
  const { first } = judgeEntries(made);
  expect(first?.what).toMatch(told);
  expect(first).toMatchObject({ kind: "rule", place: { leafIndex: leaf ?? made.length - 1 } });
});

test.each([
  ["ben", "who submitted it"],
  ["cleo", "who appealed"],
  ["rita", "its assigned reviewer"],
  ["sam", "who took part in an override"],
])("an appeal is not reviewed by %s, %s", (who, part) => {
  const { first } = judgeEntries(after(appealed(), ["appeal_review_started", who]));
  expect(first).toMatchObject({ kind: "rule", found: `${who}, ${part}`, place: { leafIndex: 8 } });
});

test.each([
  ["approved", "who approved it"],
  ["rejected", "who rejected it"],
] as const)("an appeal is not reviewed by whoever %s", (happened, part) => {
  const made = after(
    underReview(),
    [happened, "rob"],
    ["appealed", "cleo"],
    ["appeal_review_started", "rob"],
  );
  expect(judgeEntries(made).first).toMatchObject({ kind: "rule", found: `rob, ${part}` });
});
