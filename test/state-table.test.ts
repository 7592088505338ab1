import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CaseClient } from "#libs/client/case-client.ts";
import { caseStates, type CaseState } from "#services/case/domain/case.ts";
import { transitions } from "#services/case/domain/transitions.ts";
import { readState } from "#services/case/rpc/messages.ts";
import {
  content,
  openCase,
  startCaseService,
  type CaseServiceFixture,
  type PersonName,
} from "./support/case-service.ts";
import { placeCase } from "./support/place-case.ts";
import { refusalOf } from "./support/reason-of.ts";
import { rowDigests } from "./support/row-digests.ts";

let cases: CaseServiceFixture;
beforeAll(async () => {
  cases = await startCaseService({ config: { relay: "off" } });
});
afterAll(() => cases[Symbol.asyncDispose]());

interface Write {
  readonly requestId: string;
  readonly caseId: string;
}

/** Each action that is built, by the person who may do it. */
const calls: Record<
  string,
  { readonly by: PersonName; readonly call: (client: CaseClient, write: Write) => Promise<unknown> }
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
  reject: { by: "reviewer", call: (client, write) => client.rejectCase({ ...write, reason: "no" }) },
  close: { by: "supervisor", call: (client, write) => client.closeCase(write) },
};

/** How to get a case into each state: by methods as far as they are built, then by entries written by hand. */
const ways: Record<
  CaseState,
  { readonly until: Parameters<typeof openCase>[1]; readonly onwards: readonly CaseState[] }
> = {
  draft: { until: "draft", onwards: [] },
  submitted: { until: "assigned", onwards: [] },
  under_review: { until: "under_review", onwards: [] },
  approved: { until: "approved", onwards: [] },
  rejected: { until: "rejected", onwards: [] },
  appealed: { until: "approved", onwards: ["appealed"] },
  appeal_under_review: { until: "approved", onwards: ["appealed", "appeal_under_review"] },
  appeal_approved: { until: "approved", onwards: ["appealed", "appeal_under_review", "appeal_approved"] },
  appeal_rejected: { until: "rejected", onwards: ["appealed", "appeal_under_review", "appeal_rejected"] },
  closed: { until: "closed", onwards: [] },
};

async function placedIn(state: CaseState): Promise<string> {
  const caseId = await openCase(cases, ways[state].until);
  await placeCase(cases.database.superuserUrl, caseId, ways[state].onwards);
  return caseId;
}

describe.each(caseStates)("a case that is %s", (state) => {
  test.each(Object.entries(calls))(
    "answers %s as the state table says; a refusal writes no row anywhere",
    async (action, { by, call }) => {
      const caseId = await placedIn(state);
      const client = await cases.as(by);
      const before = await rowDigests(cases.database.superuserUrl);
      const row = transitions.find((t) => t.from === state && t.action === action);

      const outcome = await refusalOf(call(client, { requestId: randomUUID(), caseId }));

      const after = await rowDigests(cases.database.superuserUrl);
      if (row) {
        expect(outcome).toBe("accepted");
        expect(after).not.toEqual(before);
        const { case: moved } = await client.getCase({ caseId });
        expect(row.to).toContain(readState(moved!.state));
      } else {
        expect(outcome).toBe("FailedPrecondition INVALID_TRANSITION");
        expect(after).toEqual(before);
      }
    },
  );
});

test.each<[string, string, PersonName, CaseState, (client: CaseClient, write: Write) => Promise<unknown>]>([
  [
    "PermissionDenied FORBIDDEN",
    "an update by another caseworker",
    "colleague",
    "draft",
    calls["update"]!.call,
  ],
  [
    "FailedPrecondition REVIEWER_REQUIRED",
    "a review start by another reviewer",
    "reviewer2",
    "submitted",
    calls["start_review"]!.call,
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
    "Unimplemented (no reason)",
    "an appeal, which is not built",
    "caseworker",
    "approved",
    (client, write) => client.appealCase({ ...write, grounds: "g" }),
  ],
])("%s answers %s and writes no row anywhere", async (reason, _name, person, state, call) => {
  const caseId = await placedIn(state);
  const client = await cases.as(person);
  const before = await rowDigests(cases.database.superuserUrl);

  expect(await refusalOf(call(client, { requestId: randomUUID(), caseId }))).toBe(reason);

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
