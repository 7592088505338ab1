import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { actions, caseStates, type Action, type Appeal, type Case, type CaseState } from "./case.ts";
import type { Circumstances, Command } from "./command.ts";
import { decide } from "./decide.ts";
import { isAllowed, transitions } from "./transitions.ts";

const at = new Date("2026-03-04T05:06:07.890Z");
const people = [{ name: "Ada Byron", role: "applicant", contact: "" }];
const content = { title: "A title", summary: "A summary", people };

function circumstances(personId: string, change: Partial<Circumstances> = {}): Circumstances {
  return {
    personId,
    at,
    reportedAt: undefined,
    policy: undefined,
    newCaseId: "00000000-0000-7000-8000-000000000001",
    commitTo: (given) => createHash("sha256").update(JSON.stringify(given)).digest(),
    ...change,
  };
}

function caseIn(state: CaseState, change: Partial<Case> = {}): Case {
  return {
    id: "00000000-0000-7000-8000-000000000002",
    type: "permit",
    externalReference: "",
    state,
    version: 7,
    content,
    contentVersion: 1,
    contentCommitment: new Uint8Array(32),
    creatorId: "creator",
    submitterId: state === "draft" ? undefined : "submitter",
    submittedVersion: state === "draft" ? undefined : 2,
    assignedReviewerId: "reviewer",
    reviewStartedById: "reviewer",
    reviewVersion: 5,
    reviewRound: 1,
    approverIds: [],
    rejecterId: undefined,
    overrideProposal: undefined,
    overriderIds: [],
    overrideSpeakerIds: [],
    appeal: state.includes("appeal") ? appealOf(state) : undefined,
    onHold: false,
    erased: false,
    policyVersion: 0,
    approvalsRequired: 1,
    appealWindowDays: 30,
    createdAt: at,
    updatedAt: at,
    occurredAt: at,
    decidedAt: ["draft", "submitted", "under_review"].includes(state) ? undefined : at,
    overriddenAt: undefined,
    ...change,
  };
}

function appealOf(state: CaseState): Appeal {
  const begun = state !== "appealed";
  return {
    appellantId: "appellant",
    appealedAt: at,
    reviewerId: begun ? "judge" : undefined,
    reviewVersion: begun ? 7 : undefined,
    outcome: state === "appeal_approved" || state === "appeal_rejected" ? state : undefined,
    decidedAt: undefined,
  };
}

const said = { reason: "because", legalAuthority: "Act 1, s. 2" };
const founded = { reason: "because", legalBasis: "Act 1, s. 2" };

/** One command an action, with everything in it that the action asks for. */
const commands = {
  create: {
    command: { action: "create", caseType: "permit", externalReference: "", content },
    by: "creator",
  },
  update: { command: { action: "update", content, fields: ["title"] }, by: "creator" },
  submit: { command: { action: "submit" }, by: "submitter" },
  assign_reviewer: { command: { action: "assign_reviewer", reviewerId: "reviewer" }, by: "supervisor" },
  start_review: { command: { action: "start_review" }, by: "reviewer" },
  approve: { command: { action: "approve", reason: "" }, by: "reviewer" },
  reject: { command: { action: "reject", reason: "because" }, by: "reviewer" },
  appeal: { command: { action: "appeal", grounds: "unfair" }, by: "appellant" },
  start_appeal_review: { command: { action: "start_appeal_review" }, by: "judge" },
  approve_appeal: { command: { action: "approve_appeal", reason: "because" }, by: "judge" },
  reject_appeal: { command: { action: "reject_appeal", reason: "because" }, by: "judge" },
  override: { command: { action: "override", target: "rejected", ...said }, by: "supervisor" },
  close: { command: { action: "close", reason: "" }, by: "supervisor" },
  place_hold: { command: { action: "place_hold", ...founded }, by: "operator" },
  release_hold: { command: { action: "release_hold", ...founded }, by: "operator" },
  erase: { command: { action: "erase", ...founded }, by: "operator" },
} as const satisfies Record<Action, { readonly command: Command; readonly by: string }>;

/** The command for a state: an override aims at the other decision. */
function commandIn(state: CaseState | undefined, command: Command): Command {
  return command.action === "override" && state === "rejected" ? { ...command, target: "approved" } : command;
}

const product = [undefined, ...caseStates].flatMap((state) =>
  ([1, 2] as const).flatMap((approvalsRequired) =>
    Object.values(commands).map(({ command, by }) => ({
      state,
      approvalsRequired,
      command: commandIn(state, command),
      by,
      action: command.action,
    })),
  ),
);

test.each(product)(
  "$action from $state with $approvalsRequired approvals does what the state table says",
  ({ state, approvalsRequired, action, command, by }) => {
    const onHold = action === "release_hold";
    const current = state && caseIn(state, { approvalsRequired, onHold });
    const decision = decide(current, command, undefined, circumstances(by));
    const row = transitions.find(
      (t) => t.action === action && (t.from === "any" ? state !== undefined : t.from === (state ?? null)),
    );
    if (row === undefined) {
      expect(decision).toMatchObject({ accepted: false, reason: "INVALID_TRANSITION" });
    } else {
      expect(decision).toMatchObject({ accepted: true, next: { version: (current?.version ?? 0) + 1 } });
      expect(row.from === "any" ? [state] : row.to).toContain(decision.accepted && decision.next.state);
    }
  },
);

test("the table has one row a pair of state and action, and nothing leaves closed", () => {
  const pairs = transitions.map(({ from, action }) => `${from} ${action}`);
  expect(new Set(pairs).size).toBe(pairs.length);
  const leaving = actions.filter((action) => isAllowed("closed", action));
  expect(leaving).toEqual(["place_hold", "release_hold", "erase"] satisfies Action[]);
});

test("an old version is told before state, person or content are judged", () => {
  const stale = decide(caseIn("closed"), commands.approve.command, 6, circumstances("submitter"));
  expect(stale).toEqual({ accepted: false, reason: "VERSION_MISMATCH", metadata: { current_version: "7" } });
});

test("state is judged before the person", () => {
  const decision = decide(caseIn("draft"), commands.approve.command, 7, circumstances("submitter"));
  expect(decision).toMatchObject({ accepted: false, reason: "INVALID_TRANSITION" });
});

test.each([
  ["an update by another than the creator", "draft", commands.update.command, "somebody", "FORBIDDEN"],
  [
    "an assignment of the submitter",
    "submitted",
    { action: "assign_reviewer", reviewerId: "submitter" },
    "supervisor",
    "NOT_INDEPENDENT",
  ],
  [
    "a review start by another than the assigned reviewer",
    "submitted",
    commands.start_review.command,
    "somebody",
    "REVIEWER_REQUIRED",
  ],
  ["an approval by the submitter", "under_review", commands.approve.command, "submitter", "SELF_APPROVAL"],
  ["a rejection by the submitter", "under_review", commands.reject.command, "submitter", "SELF_APPROVAL"],
  ["an appeal without grounds", "approved", { action: "appeal", grounds: " " }, "x", "REASON_REQUIRED"],
  [
    "a decision of an appeal by another",
    "appeal_under_review",
    commands.approve_appeal.command,
    "x",
    "REVIEWER_REQUIRED",
  ],
  [
    "a decision of an appeal without a reason",
    "appeal_under_review",
    { action: "reject_appeal", reason: "" },
    "judge",
    "REASON_REQUIRED",
  ],
  [
    "an override without a reason",
    "approved",
    { ...commands.override.command, reason: " " },
    "x",
    "REASON_REQUIRED",
  ],
  [
    "an override without a legal authority",
    "approved",
    { ...commands.override.command, legalAuthority: "" },
    "x",
    "REASON_REQUIRED",
  ],
  ["an override by the submitter", "approved", commands.override.command, "submitter", "SELF_APPROVAL"],
  [
    "an override to what the decision is already",
    "approved",
    { ...commands.override.command, target: "approved" },
    "x",
    "INVALID_TRANSITION",
  ],
  [
    "a hold without a legal basis",
    "draft",
    { ...commands.place_hold.command, legalBasis: "" },
    "x",
    "REASON_REQUIRED",
  ],
  ["a release where nothing is held", "draft", commands.release_hold.command, "x", "INVALID_TRANSITION"],
  ["an erasure without a reason", "draft", { ...commands.erase.command, reason: "" }, "x", "REASON_REQUIRED"],
  [
    "a rejection with a blank reason",
    "under_review",
    { action: "reject", reason: " \n\t" },
    "reviewer",
    "REASON_REQUIRED",
  ],
] as const)("%s is refused", (_name, state, command, by, reason) => {
  expect(decide(caseIn(state), command, undefined, circumstances(by))).toMatchObject({
    accepted: false,
    reason,
  });
});

test.each(["title", "summary", "people"] as const)("a draft without %s cannot be submitted", (field) => {
  const lacking = { ...content, [field]: field === "people" ? [] : "  " };
  const decision = decide(
    caseIn("draft", { content: lacking }),
    { action: "submit" },
    undefined,
    circumstances("a"),
  );
  expect(decision).toMatchObject({
    accepted: false,
    reason: "INVALID_REQUEST",
    metadata: { missing: field },
  });
});

test("an update changes the masked fields alone and makes a new content version with its own commitment", () => {
  const before = caseIn("draft");
  const command: Command = {
    action: "update",
    content: { title: "Another", summary: "ignored", people: [] },
    fields: ["title"],
  };
  const decision = decide(before, command, undefined, circumstances("creator"));
  expect(decision).toMatchObject({
    accepted: true,
    next: { content: { title: "Another", summary: "A summary", people }, contentVersion: 2 },
  });
  expect(decision.accepted && decision.next.contentCommitment).not.toEqual(before.contentCommitment);
});

test("with two approvals required the first leaves the case under review and the second decides it", () => {
  const first = decide(
    caseIn("under_review", { approvalsRequired: 2 }),
    commands.approve.command,
    undefined,
    circumstances("reviewer"),
  );
  expect(first).toMatchObject({
    accepted: true,
    happened: "approval_recorded",
    next: { state: "under_review", approverIds: ["reviewer"], decidedAt: undefined },
  });
  const after = first.accepted ? first.next : caseIn("draft");
  const again = decide(after, commands.approve.command, undefined, circumstances("reviewer"));
  expect(again).toMatchObject({ accepted: false, reason: "ALREADY_APPROVED" });
  const second = decide(after, commands.approve.command, undefined, circumstances("second"));
  expect(second).toMatchObject({
    accepted: true,
    happened: "approved",
    next: { state: "approved", approverIds: ["reviewer", "second"], decidedAt: at },
  });
});

test("with two approvals required, whoever started the review cannot give the last one", () => {
  const once = caseIn("under_review", { approvalsRequired: 2, approverIds: ["second"] });
  const decision = decide(once, commands.approve.command, undefined, circumstances("reviewer"));
  expect(decision).toMatchObject({ accepted: false, reason: "NOT_INDEPENDENT" });
});

test("a decision changes nothing of the case it was given", () => {
  const frozen = Object.freeze(caseIn("under_review"));
  const copy = structuredClone(frozen);
  decide(frozen, commands.approve.command, undefined, circumstances("reviewer"));
  expect(frozen).toEqual(copy);
});

test.each<[string, Partial<Case>]>([
  ["submitter", { submitterId: "judge" }],
  ["assigned_reviewer", { assignedReviewerId: "judge" }],
  ["review_starter", { reviewStartedById: "judge" }],
  ["approver", { approverIds: ["first", "judge"] }],
  ["rejecter", { rejecterId: "judge" }],
  ["overrider", { overrideSpeakerIds: ["first", "judge"] }],
  ["appellant", { appeal: { ...appealOf("appealed"), appellantId: "judge" } }],
])("whoever was %s of a case does not review its appeal", (role, change) => {
  const { command } = commands.start_appeal_review;
  const decision = decide(caseIn("appealed", change), command, undefined, circumstances("judge"));
  expect(decision).toEqual({ accepted: false, reason: "NOT_INDEPENDENT", metadata: { role } });
});

const dayMs = 24 * 60 * 60 * 1000;
test.each<[string, Partial<Case>, number, boolean]>([
  ["at the last instant of the window", {}, 30 * dayMs, true],
  ["an instant later", {}, 30 * dayMs + 1, false],
  ["under a policy without appeals", { appealWindowDays: 0 }, 0, false],
  ["counted from an override", { overriddenAt: new Date(at.getTime() + dayMs) }, 31 * dayMs, true],
  [
    "an instant after an override's window",
    { overriddenAt: new Date(at.getTime() + dayMs) },
    31 * dayMs + 1,
    false,
  ],
])("an appeal %s is judged by the clock that was given", (_name, change, laterMs, accepted) => {
  const later = circumstances("x", { at: new Date(at.getTime() + laterMs) });
  const decision = decide(caseIn("rejected", change), commands.appeal.command, undefined, later);
  expect(decision).toMatchObject(accepted ? { accepted } : { accepted, reason: "APPEAL_WINDOW_CLOSED" });
});

test("an imported appeal is judged by when it was made, not by when it was brought in", () => {
  const years = { at: new Date(at.getTime() + 1000 * dayMs), reportedAt: new Date(at.getTime() + dayMs) };
  const decision = decide(caseIn("rejected"), commands.appeal.command, undefined, circumstances("x", years));
  expect(decision).toMatchObject({
    accepted: true,
    occurredAt: years.reportedAt,
    next: { updatedAt: years.at },
  });
});

test.each<[string, Date]>([
  ["ahead of the clock", new Date(at.getTime() + 1)],
  ["before the case's last change", new Date(at.getTime() - 1)],
])("an imported action that is dated %s is refused", (_name, reportedAt) => {
  const decision = decide(caseIn("rejected"), commands.appeal.command, 7, circumstances("x", { reportedAt }));
  expect(decision).toMatchObject({ reason: "INVALID_REQUEST", metadata: { field: "origin.occurred_at" } });
});

test("an override takes a second supervisor with the same words; other words replace the proposal", () => {
  const { command } = commands.override;
  const run = (current: Case, by: string, change: Partial<typeof command> | object = {}) =>
    decide(current, { ...command, ...change }, undefined, circumstances(by));
  const accepted = (decision: ReturnType<typeof run>) => {
    if (!decision.accepted) throw new Error(decision.reason);
    return decision;
  };
  const proposed = accepted(run(caseIn("approved"), "ann"));
  expect(proposed).toMatchObject({
    happened: "override_proposed",
    next: { state: "approved", overriderIds: [] },
  });
  expect(run(proposed.next, "ann")).toMatchObject({ reason: "ALREADY_APPROVED" });
  const replaced = accepted(run(proposed.next, "ben", { reason: "another" }));
  expect(replaced).toMatchObject({
    happened: "override_proposed",
    next: { overrideProposal: { proposerId: "ben" } },
  });
  const done = accepted(run(replaced.next, "ann", { reason: "another" }));
  expect(done).toMatchObject({
    happened: "overridden",
    completes: { version: replaced.next.version, personId: "ben" },
    spokeBefore: true,
    decidesReviewAt: 5,
    next: {
      state: "rejected",
      overriderIds: ["ben", "ann"],
      overrideProposal: undefined,
      overriddenAt: at,
      decidedAt: at,
    },
  });
});

test("a proposal to override ends with an appeal, and with the close of the case", () => {
  const proposal = { proposerId: "ann", target: "rejected", version: 6, ...said } as const;
  const current = caseIn("approved", { overrideProposal: proposal });
  for (const { command } of [commands.appeal, commands.close]) {
    const decision = decide(current, command, undefined, circumstances("x"));
    expect(decision).toMatchObject({ accepted: true, next: { overrideProposal: undefined } });
  }
});

test("a held case is not erased, everything else goes on; an erased one keeps its commitment and says nothing", () => {
  const held = caseIn("draft", { onHold: true });
  expect(decide(held, commands.erase.command, undefined, circumstances("x"))).toMatchObject({
    reason: "CASE_ON_HOLD",
  });
  expect(decide(held, commands.place_hold.command, undefined, circumstances("x"))).toMatchObject({
    reason: "CASE_ON_HOLD",
  });
  expect(decide(held, commands.submit.command, undefined, circumstances("x"))).toMatchObject({
    accepted: true,
  });
  const erased = decide(caseIn("draft"), commands.erase.command, undefined, circumstances("x"));
  const { next } = erased.accepted ? erased : { next: held };
  expect(next).toMatchObject({ erased: true, content: undefined, contentCommitment: new Uint8Array(32) });
  for (const { command } of [commands.erase, commands.place_hold, commands.update]) {
    expect(decide(next, command, undefined, circumstances("creator"))).toMatchObject({
      reason: "INVALID_TRANSITION",
    });
  }
});

test("a case takes the policy that is in force when it is created", () => {
  const policy = { version: 3, approvalsRequired: 2, appealWindowDays: 7 } as const;
  const decision = decide(undefined, commands.create.command, undefined, circumstances("x", { policy }));
  expect(decision).toMatchObject({ next: { policyVersion: 3, approvalsRequired: 2, appealWindowDays: 7 } });
});

test("whoever approved first may still reject, and is marked as having spoken before", () => {
  const once = caseIn("under_review", { approvalsRequired: 2, approverIds: ["reviewer"] });
  const decision = decide(once, commands.reject.command, undefined, circumstances("reviewer"));
  expect(decision).toMatchObject({ accepted: true, spokeBefore: true, next: { state: "rejected" } });
});
