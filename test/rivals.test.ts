import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CaseAction } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import { openCase, startCaseService, type CaseServiceFixture } from "./support/case-service.ts";
import { refusalOf } from "./support/reason-of.ts";

let cases: CaseServiceFixture;
beforeAll(async () => {
  cases = await startCaseService({ config: { relay: "off" } });
});
afterAll(() => cases[Symbol.asyncDispose]());

test.each([
  ["naming no version", undefined, "FailedPrecondition INVALID_TRANSITION"],
  ["naming the version", 4, "Aborted VERSION_MISMATCH"],
])(
  "of 50 approvals and rejections at once, %s, exactly one wins and the trail agrees",
  async (_name, expectedVersion, lost) => {
    const caseId = await openCase(cases, "under_review");
    const reviewers = [await cases.as("reviewer"), await cases.as("reviewer2")];
    const write = () => ({ caseId, requestId: randomUUID(), ...(expectedVersion && { expectedVersion }) });

    const outcomes = await Promise.all(
      Array.from({ length: 50 }, (_, index) => {
        const reviewer = reviewers[index % 2]!;
        return refusalOf(
          index % 4 < 2
            ? reviewer.approveCase(write())
            : reviewer.rejectCase({ ...write(), reason: `no ${index}` }),
        );
      }),
    );

    expect(outcomes.filter((outcome) => outcome === "accepted")).toHaveLength(1);
    const winner = outcomes.indexOf("accepted");
    expect(new Set(outcomes.toSpliced(winner, 1))).toEqual(new Set([lost]));
    const auditor = await cases.as("auditor");
    const { entries } = await auditor.getCaseHistory({ caseId });
    expect(entries.map(({ version }) => version)).toEqual([1, 2, 3, 4, 5]);
    expect(entries[4]).toMatchObject({
      action: winner % 4 < 2 ? CaseAction.APPROVE : CaseAction.REJECT,
      actor: { id: winner % 2 === 0 ? "reviewer" : "reviewer2" },
      reason: winner % 4 < 2 ? "" : `no ${winner}`,
    });
    const { case: found } = await auditor.getCase({ caseId });
    expect(found).toMatchObject({ version: 5, state: entries[4]!.toState });
  },
);
