import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { actions, caseStates, type Action, type Case, type CaseState } from "./case.ts";
import { decide, type Circumstances, type Command } from "./decide.ts";
import { isAllowed, transitions } from "./transitions.ts";

const at = new Date("2026-03-04T05:06:07.890Z");
const people = [{ name: "Ada Byron", role: "applicant", contact: "" }];
const content = { title: "A title", summary: "A summary", people };

function circumstances(principalId: string): Circumstances {
  return {
    principalId,
    at,
    newCaseId: "00000000-0000-7000-8000-000000000001",
    commitTo: (given) => createHash("sha256").update(JSON.stringify(given)).digest(),
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
    assignedReviewerId: "reviewer",
    reviewStartedById: "reviewer",
    reviewVersion: 5,
    reviewRound: 1,
    approverIds: [],
    rejecterId: undefined,
    policyVersion: 0,
    approvalsRequired: 1,
    createdAt: at,
    updatedAt: at,
    decidedAt: undefined,
    ...change,
  };
}

/** One command an action that is built, with everything in it that the action asks for. */
const commands: Record<Command["action"], { readonly command: Command; readonly by: string }> = {
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
  close: { command: { action: "close", reason: "" }, by: "supervisor" },
};

const product = [undefined, ...caseStates].flatMap((state) =>
  Object.values(commands).map((given) => ({ state, ...given, action: given.command.action })),
);

test.each(product)("$action from $state does what the state table says", ({ state, action, command, by }) => {
  const current = state && caseIn(state);
  const decision = decide(current, command, undefined, circumstances(by));
  const row = transitions.find((t) => t.action === action && t.from === (state ?? null));
  if (row === undefined) {
    expect(decision).toMatchObject({ accepted: false, reason: "INVALID_TRANSITION" });
  } else {
    expect(decision).toMatchObject({ accepted: true, next: { version: (current?.version ?? 0) + 1 } });
    expect(row.to).toContain(decision.accepted && decision.next.state);
  }
});

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
