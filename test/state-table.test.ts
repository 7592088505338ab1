import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CaseClient } from "#libs/client/case-client.ts";
import { CaseState as CaseStateMessage } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import { caseStates, type Action, type CaseState } from "#services/case/domain/case.ts";
import { isAllowed, transitions } from "#services/case/domain/transitions.ts";
import { readState } from "#services/case/rpc/messages.ts";
import {
  content,
  openCase,
  setPolicy,
  startCaseService,
  tenant,
  type CaseServiceFixture,
  type PersonName,
} from "./support/case-service.ts";
import { refusalOf } from "./support/reason-of.ts";
import { openSuperuser } from "./support/superuser.ts";
import { rowDigests } from "./support/row-digests.ts";

let cases: CaseServiceFixture;
beforeAll(async () => {
  cases = await startCaseService({ config: { relay: "off" } });
});
afterAll(() => cases[Symbol.asyncDispose]());

const requiring = { 1: "permit", 2: "two_person_permit" } as const;
type ApprovalsRequired = keyof typeof requiring;

beforeAll(async () => {
  await setPolicy(cases, requiring[2]);
});

interface Write {
  readonly requestId: string;
  readonly caseId: string;
}
type Call = (client: CaseClient, write: Write) => Promise<unknown>;

const reason = "because";
const founded = { reason, legalBasis: "Act 1, s. 2" };
const legalAuthority = "Act 1, s. 3";
const targets: Partial<Record<CaseState, CaseStateMessage>> = { rejected: CaseStateMessage.APPROVED };

/** Each action, by the person who may do it, in whatever state. */
const calls: Record<
  Exclude<Action, "create" | "place_hold" | "release_hold" | "erase">,
  {
    readonly by: PersonName;
    readonly call: (client: CaseClient, write: Write, state: CaseState) => Promise<unknown>;
  }
> = {
  update: {
    by: "caseworker",
    call: (client, write) => client.updateCase({ ...write, content, updateMask: { paths: ["title"] } }),
  },
  submit: { by: "caseworker", call: (client, write) => client.submitCase(write) },
  assign_reviewer: {
    by: "supervisor",
    call: (client, write) => client.assignReviewer({ ...write, reviewerId: "reviewer" }),
  },
  start_review: { by: "reviewer", call: (client, write) => client.startReview(write) },
  approve: { by: "reviewer", call: (client, write) => client.approveCase(write) },
  reject: { by: "reviewer", call: (client, write) => client.rejectCase({ ...write, reason }) },
  appeal: { by: "colleague", call: (client, write) => client.appealCase({ ...write, grounds: "unfair" }) },
  start_appeal_review: { by: "judge", call: (client, write) => client.startAppealReview(write) },
  approve_appeal: { by: "judge", call: (client, write) => client.approveAppeal({ ...write, reason }) },
  reject_appeal: { by: "judge", call: (client, write) => client.rejectAppeal({ ...write, reason }) },
  override: {
    by: "supervisor",
    call: (client, write, state) =>
      client.overrideDecision({
        ...write,
        targetState: targets[state] ?? CaseStateMessage.REJECTED,
        reason,
        legalAuthority,
      }),
  },
  close: { by: "supervisor", call: (client, write) => client.closeCase(write) },
};

/** Where a case is taken by methods, each step by whom it takes. */
function placedIn(state: CaseState, approvals: ApprovalsRequired = 1): Promise<string> {
  return openCase(cases, state === "submitted" ? "assigned" : state, tenant, requiring[approvals]);
}

/** What the case answers now, and whether it wrote a row anywhere. */
async function outcomeOf(run: () => Promise<unknown>): Promise<{ outcome: string; wrote: boolean }> {
  const before = await rowDigests(cases.database.superuserUrl);
  const outcome = await refusalOf(run());
  const after = await rowDigests(cases.database.superuserUrl);
  return { outcome, wrote: JSON.stringify(after) !== JSON.stringify(before) };
}

async function stateOf(caseId: string): Promise<CaseState> {
  const { case: found } = await (await cases.as("auditor")).getCase({ caseId });
  return readState(found!.state);
}

const product = caseStates.flatMap((state) => ([1, 2] as const).map((approvals) => ({ state, approvals })));

describe.each(product)("a case that is $state and wants $approvals approvals", ({ state, approvals }) => {
  const allowed = Object.entries(calls).filter(([action]) => isAllowed(state, action as Action)); // Its own keys.
  const refused = Object.entries(calls).filter(([action]) => !isAllowed(state, action as Action));

  test.each(allowed.map(([action, { by, call }]) => ({ action, by, call })))(
    "answers $action as the state table says",
    async ({ action, by, call }) => {
      const caseId = await placedIn(state, approvals);
      await call(await cases.as(by), { requestId: randomUUID(), caseId }, state);
      const row = transitions.find((t) => t.from === state && t.action === action);
      expect(row?.to).toContain(await stateOf(caseId));
    },
  );

  test("refuses every other action and writes no row anywhere", async () => {
    const caseId = await placedIn(state, approvals);
    const before = await rowDigests(cases.database.superuserUrl);
    for (const [action, { by, call }] of refused) {
      const outcome = refusalOf(call(await cases.as(by), { requestId: randomUUID(), caseId }, state));
      expect(await outcome, action).toBe("FailedPrecondition INVALID_TRANSITION");
    }
    expect(await rowDigests(cases.database.superuserUrl)).toEqual(before);
  });

  test("lets a hold, its release and an erasure leave its state alone", async () => {
    const caseId = await placedIn(state, approvals);
    const admin = await cases.admin();
    for (const method of ["placeHold", "releaseHold", "eraseCase"] as const) {
      const { case: found } = await admin[method]({ caseId, requestId: randomUUID(), ...founded });
      expect(readState(found!.state), method).toBe(state);
    }
  });
});

test("two people approve where two must; the second decides", async () => {
  const caseId = await placedIn("under_review", 2);
  const approve = async (person: PersonName) => {
    const client = await cases.as(person);
    return outcomeOf(() => client.approveCase({ caseId, requestId: randomUUID() }));
  };
  const accepted = { outcome: "accepted", wrote: true };
  const refused = (why: string) => ({ outcome: `FailedPrecondition ${why}`, wrote: false });
  expect(await approve("reviewer")).toEqual(accepted);
  expect(await stateOf(caseId)).toBe("under_review");
  expect(await approve("reviewer")).toEqual(refused("ALREADY_APPROVED"));
  expect(await approve("reviewer2")).toEqual(accepted);
  expect(await stateOf(caseId)).toBe("approved");

  await using superuser = await openSuperuser(cases.database.superuserUrl);
  const { rows } = await superuser.query(
    "SELECT approver_id, count(*) OVER (PARTITION BY decision_hash)::int AS same FROM approvals WHERE case_id = $1 ORDER BY version",
    [caseId],
  );
  expect(rows).toEqual([
    { approver_id: "reviewer", same: 2 },
    { approver_id: "reviewer2", same: 2 },
  ]);
});

test("whoever started a review does not give the last of two approvals", async () => {
  const caseId = await placedIn("under_review", 2);
  const write = () => ({ caseId, requestId: randomUUID() });
  await (await cases.as("reviewer2")).approveCase(write());
  const starter = await cases.as("reviewer");
  expect(await outcomeOf(() => starter.approveCase(write()))).toEqual({
    outcome: "FailedPrecondition NOT_INDEPENDENT",
    wrote: false,
  });
  await (await cases.as("judge")).approveCase(write());
  expect(await stateOf(caseId)).toBe("approved");
});

test.each([
  ["approved", CaseStateMessage.REJECTED, "rejected"],
  ["rejected", CaseStateMessage.APPROVED, "approved"],
] as const)("two supervisors override a case that is %s", async (from, targetState, to) => {
  const caseId = await placedIn(from);
  const override = async (person: PersonName, change: object = {}) => {
    const client = await cases.as(person);
    const write = { caseId, requestId: randomUUID(), targetState, reason, legalAuthority, ...change };
    return refusalOf(client.overrideDecision(write));
  };
  expect(await override("supervisor")).toBe("accepted");
  expect(await stateOf(caseId)).toBe(from);
  expect(await override("supervisor")).toBe("FailedPrecondition ALREADY_APPROVED");
  expect(await override("supervisor2", { reason: "another" })).toBe("accepted");
  expect(await stateOf(caseId)).toBe(from);
  expect(await override("supervisor", { reason: "another" })).toBe("accepted");
  expect(await stateOf(caseId)).toBe(to);

  const auditor = await cases.as("auditor");
  const { case: found } = await auditor.getCase({ caseId });
  expect(found).toMatchObject({
    overriderIds: ["supervisor2", "supervisor"],
    firstDecision: CaseStateMessage[from === "approved" ? "APPROVED" : "REJECTED"],
  });
  const { entries } = await auditor.getCaseHistory({ caseId });
  expect(
    entries.slice(-3).map(({ eventType, actor, legalAuthority: law }) => [eventType, actor?.id, law]),
  ).toEqual([
    ["caseflow.case.override_proposed", "supervisor", legalAuthority],
    ["caseflow.case.override_proposed", "supervisor2", legalAuthority],
    ["caseflow.case.overridden", "supervisor", legalAuthority],
  ]);
});

test("an appeal appends: the first decision stays readable, also once the case is closed", async () => {
  const caseId = await placedIn("appeal_rejected");
  await (await cases.as("supervisor")).closeCase({ caseId, requestId: randomUUID() });
  const auditor = await cases.as("auditor");
  const { case: found } = await auditor.getCase({ caseId });
  expect(found).toMatchObject({
    state: CaseStateMessage.CLOSED,
    firstDecision: CaseStateMessage.REJECTED,
    rejecterId: "reviewer",
    appeal: { appellantId: "caseworker", reviewerId: "judge", outcome: CaseStateMessage.APPEAL_REJECTED },
  });
  const { entries } = await auditor.getCaseHistory({ caseId });
  expect(entries.find(({ toState }) => toState === CaseStateMessage.REJECTED)?.reason).not.toBe("");
});

test.each<[string, string, PersonName, CaseState, Call]>([
  [
    "PermissionDenied FORBIDDEN",
    "an update by another caseworker",
    "colleague",
    "draft",
    (client, write) => calls.update.call(client, write, "draft"),
  ],
  [
    "FailedPrecondition REVIEWER_REQUIRED",
    "a review start by another reviewer",
    "reviewer2",
    "submitted",
    (client, write) => client.startReview(write),
  ],
  [
    "FailedPrecondition REASON_REQUIRED",
    "a rejection without a reason",
    "reviewer",
    "under_review",
    (client, write) => client.rejectCase(write),
  ],
  [
    "FailedPrecondition NOT_INDEPENDENT",
    "an assignment of the submitter",
    "supervisor",
    "submitted",
    (client, write) => client.assignReviewer({ ...write, reviewerId: "caseworker" }),
  ],
  [
    "Aborted VERSION_MISMATCH",
    "an old version",
    "supervisor",
    "closed",
    (client, write) => client.closeCase({ ...write, expectedVersion: 1 }),
  ],
  [
    "NotFound CASE_NOT_FOUND",
    "an unknown case",
    "supervisor",
    "closed",
    (client, write) => client.closeCase({ ...write, caseId: randomUUID() }),
  ],
  [
    "InvalidArgument INVALID_REQUEST",
    "a request id that is no UUID",
    "supervisor",
    "approved",
    (client, write) => client.closeCase({ ...write, requestId: "x" }),
  ],
  [
    "InvalidArgument INVALID_REQUEST",
    "an update of no field",
    "caseworker",
    "draft",
    (client, write) => client.updateCase({ ...write, content }),
  ],
  [
    "FailedPrecondition REASON_REQUIRED",
    "an appeal without grounds",
    "caseworker",
    "approved",
    (client, write) => client.appealCase(write),
  ],
  [
    "FailedPrecondition NOT_INDEPENDENT",
    "an appeal review by the reviewer",
    "reviewer",
    "appealed",
    (client, write) => client.startAppealReview(write),
  ],
  [
    "FailedPrecondition REVIEWER_REQUIRED",
    "a decision of an appeal by another reviewer",
    "reviewer2",
    "appeal_under_review",
    (client, write) => client.approveAppeal({ ...write, reason }),
  ],
  [
    "FailedPrecondition REASON_REQUIRED",
    "an override without a legal authority",
    "supervisor",
    "approved",
    (client, write) => client.overrideDecision({ ...write, targetState: CaseStateMessage.REJECTED, reason }),
  ],
])("%s answers %s and writes no row anywhere", async (outcome, _name, person, state, call) => {
  const caseId = await placedIn(state);
  const client = await cases.as(person);
  const before = await rowDigests(cases.database.superuserUrl);

  expect(await refusalOf(call(client, { requestId: randomUUID(), caseId }))).toBe(outcome);

  expect(await rowDigests(cases.database.superuserUrl)).toEqual(before);
});

test("whoever submitted a case can neither approve nor reject it, whatever roles they hold", async () => {
  const everything = await cases.as("everything");
  const write = (caseId: string): Write => ({ caseId, requestId: randomUUID() });
  const created = await everything.createCase({ requestId: randomUUID(), caseType: "permit", content });
  const { caseId } = created.case!;
  await everything.submitCase(write(caseId));
  await everything.assignReviewer({ ...write(caseId), reviewerId: "reviewer" });
  await (await cases.as("reviewer")).startReview(write(caseId));

  expect(await refusalOf(everything.approveCase(write(caseId)))).toBe("FailedPrecondition SELF_APPROVAL");
  expect(await refusalOf(everything.rejectCase({ ...write(caseId), reason: "r" }))).toBe(
    "FailedPrecondition SELF_APPROVAL",
  );
});

test("a draft that lacks something is not submitted, and the fields that lack are named", async () => {
  const caseworker = await cases.as("caseworker");
  const created = await caseworker.createCase({
    requestId: randomUUID(),
    caseType: "permit",
    content: { title: "only a title" },
  });
  const call = caseworker.submitCase({ requestId: randomUUID(), caseId: created.case!.caseId });
  expect(await refusalOf(call)).toBe("InvalidArgument INVALID_REQUEST");
});
