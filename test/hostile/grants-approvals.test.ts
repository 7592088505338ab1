import { afterAll, beforeAll, expect, test } from "vitest";
import { openAttackSession, type AttackSession } from "../support/attack-session.ts";
import { openCase, startCaseService, tenant, type CaseServiceFixture } from "../support/case-service.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { openSuperuser } from "../support/superuser.ts";

expectNoLeaks();

/* Four eyes, against the application's role in the hands of somebody who writes SQL. */

const stack = new AsyncDisposableStack();
let cases: CaseServiceFixture;
let app: AttackSession;

beforeAll(async () => {
  cases = stack.use(await startCaseService({ config: { relay: "off" } }));
  app = stack.use(await openAttackSession(cases.database.appUrl));
});
afterAll(() => stack.disposeAsync());

interface Approval {
  readonly caseId: string;
  readonly approver: string;
  readonly submitter: string;
  readonly round: number;
  readonly version: number;
}

function approvalOf({ caseId, approver, submitter, round, version }: Approval): string {
  return `INSERT INTO approvals (tenant_id, case_id, review_round, approver_id, submitter_id, version, action, decision_hash)
          VALUES ('${tenant}', '${caseId}', ${round}, '${approver}', '${submitter}', ${version}, 'approve', sha256('attack'))`;
}

/** An approval beside the one that the case has: it stands at its last entry, was made by `reviewer`, in round 1. */
async function approvedCase(): Promise<Approval> {
  const caseId = await openCase(cases, "approved");
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  const { rows } = await superuser.query(
    "SELECT approver_id, version, review_round FROM approvals WHERE case_id = $1",
    [caseId],
  );
  expect(rows).toMatchObject([{ approver_id: "reviewer", review_round: 1 }]);
  return { caseId, approver: "somebody-else", submitter: "caseworker", round: 1, version: rows[0].version };
}

test("one person approves once", async () => {
  const approval = await approvedCase();
  expect(await app.attempt(approvalOf({ ...approval, approver: "reviewer" }), tenant)).toBe(
    "approvals_once_a_person",
  );
});

test("the submitter does not approve, also not by naming another submitter", async () => {
  const approval = { ...(await approvedCase()), approver: "caseworker" };
  expect(await app.attempt(approvalOf(approval), tenant)).toBe("approvals_never_submitter");
  expect(await app.attempt(approvalOf({ ...approval, submitter: "x" }), tenant)).toBe("approvals_of_case");
});

test("who submitted a case cannot be changed once it has an approval", async () => {
  const { caseId } = await approvedCase();
  const change = `UPDATE cases SET submitter_id = 'x' WHERE case_id = '${caseId}'`;
  expect(await app.attempt(change, tenant)).toBe("approvals_of_case");
});

test("an approval belongs to an entry of its case", async () => {
  const approval = await approvedCase();
  expect(await app.attempt(approvalOf({ ...approval, version: 99 }), tenant)).toBe("approvals_by_entry");
});

test("an approval belongs to an approving entry of the same person", async () => {
  const approval = await approvedCase();
  const ghost = approvalOf({ ...approval, approver: "ghost", version: 1 });
  expect(await app.attempt(ghost, tenant)).toBe("approvals_by_entry");
  expect(await app.attempt(approvalOf({ ...approval, approver: "ghost" }), tenant)).toBe(
    "approvals_by_entry",
  );
});

test("an entry of another action is no approval", async () => {
  const approval = { ...(await approvedCase()), approver: "supervisor", version: 3 };
  const assigned = approvalOf(approval).replace("'approve'", "'assign_reviewer'");
  expect(await app.attempt(assigned, tenant)).toBe("approvals_action");
});

test("an approval names a decision by its SHA-256", async () => {
  const approval = approvalOf(await approvedCase());
  expect(await app.attempt(approval.replace("sha256('attack')", "'\\x00'"), tenant)).toBe(
    "approvals_decision_hash_is_sha256",
  );
});

test("one person does not approve again in a round that never was", async () => {
  const approval = await approvedCase();
  const again = approvalOf({ ...approval, approver: "reviewer", round: 2 });
  expect(await app.attempt(again, tenant)).toBe("approvals_first_round");
});

test("who submitted a case cannot be changed before it has an approval", async () => {
  const caseId = await openCase(cases, "under_review");
  const change = (set: string) => `UPDATE cases SET ${set} WHERE case_id = '${caseId}'`;
  expect(await app.attempt(change("submitter_id = 'x'"), tenant)).toBe("cases_submitted_by");
  expect(await app.attempt(change("submitter_id = 'x', submitted_version = 4"), tenant)).toBe(
    "cases_submitted_by",
  );
  // A foreign key with a gap in it refers to nothing, and `reviewer` did make entry 4.
  expect(await app.attempt(change("submitter_id = 'x', submitted_version = NULL"), tenant)).toBe(
    "cases_submitter_by_entry",
  );
  const byReviewer = "submitter_id = 'reviewer', submitted_version = 4, submit_action = 'start_review'";
  expect(await app.attempt(change(`${byReviewer}, assigned_reviewer_id = NULL`), tenant)).toBe(
    "cases_submit_action",
  );
});
