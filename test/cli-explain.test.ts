import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CaseState } from "#libs/gen/caseflow/cases/v1/case_pb.ts";

import { caseflow } from "./support/caseflow-command.ts";
import { openCase, setPolicy, startCaseService, type CaseServiceFixture } from "./support/case-service.ts";

let cases: CaseServiceFixture;
beforeAll(async () => {
  cases = await startCaseService({ config: { relay: "off" } });
});
afterAll(() => cases?.[Symbol.asyncDispose]());

async function explain(caseId: string, ...options: string[]): Promise<string> {
  const target = { url: cases.url, token: await cases.token("auditor") };
  const { exit, stdout, stderr } = await caseflow(target, ["explain", caseId, ...options]);
  expect(exit, stderr).toBe(0);
  return stdout;
}

test("a review that lacks an approval tells who gave one, under which policy, and who may not give the other", async () => {
  await setPolicy(cases, "two_eyes");
  const caseId = await openCase(cases, "under_review", "acme", "two_eyes");
  const reviewer2 = await cases.as("reviewer2");
  await reviewer2.approveCase({ caseId, requestId: randomUUID(), reason: "sound\nplans" });
  const text = await explain(caseId);
  expect(text).toContain(
    "Judged under policy version 1: 2 approvals by different people, appeal within 30 days",
  );
  expect(text).toContain("reviewer2 approved; another approval was still to come");
  expect(text).toContain("      because: sound plans\n");
  expect(text).toContain("1 of 2 approvals: reviewer2\n");
  expect(text).toContain("one approval, by nobody of caseworker, reviewer2, reviewer; or a rejection");
  const { missing, history } = JSON.parse(await explain(caseId, "--json"));
  expect(missing).toHaveLength(1);
  expect(history).toHaveLength(5);
});

test("a decision tells the hash that its approvals share, its override, its appeal, and for how long it may be appealed", async () => {
  await setPolicy(cases, "two_again");
  const caseId = await openCase(cases, "approved", "acme", "two_again");
  const words = {
    targetState: CaseState.REJECTED,
    reason: "the survey was wrong",
    legalAuthority: "Act 1, s. 2",
  };
  const propose = await cases.as("supervisor");
  await propose.overrideDecision({ caseId, requestId: randomUUID(), ...words });
  expect(await explain(caseId)).toContain("a second supervisor, other than supervisor and the submitter");
  await (await cases.as("supervisor2")).overrideDecision({ caseId, requestId: randomUUID(), ...words });
  const overridden = await explain(caseId);
  expect(overridden).toMatch(
    /2 of 2 approvals: reviewer, reviewer2\n {2}all of it about one decision: [0-9a-f]{64}\n/,
  );
  expect(overridden).toContain("overridden by supervisor and supervisor2");
  expect(overridden).toContain("by virtue of: Act 1, s. 2");
  expect(overridden).toContain("finality: it may be appealed until ");
  await (await cases.as("caseworker")).appealCase({ caseId, requestId: randomUUID(), grounds: "unfair" });
  expect(await explain(caseId)).toContain("the start of the appeal's review, by somebody who had no part");
  const judge = await cases.as("judge");
  await judge.startAppealReview({ caseId, requestId: randomUUID() });
  await judge.approveAppeal({ caseId, requestId: randomUUID(), reason: "it was" });
  const decided = await explain(caseId);
  expect(decided).toMatch(/appealed by caseworker on .*, reviewed by judge, .*: appeal approved/);
  expect(decided).toMatch(/What is missing\n {2}nothing\n$/);
});

test("an imported action is told with both times and whom it was done for", async () => {
  const importer = await cases.as("importer");
  const origin = { occurredAt: { seconds: 1_300_000_000n, nanos: 0 }, onBehalfOf: "clerk-1" };
  const created = await importer.createCase({
    ...{ requestId: randomUUID(), caseType: "permit", externalReference: "P-1", content: {}, origin },
  });
  const text = await explain(created.case!.caseId);
  expect(text).toMatch(/ 2011-03-13T07:06:40\.000Z {2}clerk-1 opened the case, now draft\n/);
  expect(text).toMatch(/recorded by importer \(importer\) on behalf of clerk-1, recorded 20\d\d-/);
  expect(text).toContain("nobody has decided anything yet");
  expect(text).toContain("its submission");
});
