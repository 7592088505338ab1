import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openAttackSession, type AttackSession } from "../support/attack-session.ts";
import {
  openCase,
  setPolicy,
  startCaseService,
  tenant,
  type CaseServiceFixture,
} from "../support/case-service.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { openSuperuser } from "../support/superuser.ts";

expectNoLeaks();

/* Four eyes, against the application's role in the hands of somebody who writes SQL. */

const stack = new AsyncDisposableStack();
const caseType = "two_person_permit";
let cases: CaseServiceFixture;
let app: AttackSession;

beforeAll(async () => {
  cases = stack.use(await startCaseService({ config: { relay: "off" } }));
  app = stack.use(await openAttackSession(cases.database.appUrl));
  await setPolicy(cases, caseType);
});
afterAll(() => stack.disposeAsync());

interface Approval {
  readonly caseId: string;
  /** Of the case, which has one approval: by `first`, at this version. */
  readonly version: number;
  readonly first: string;
  readonly decisionHash: string;
}

/** A case under review by `reviewer` that wants two approvals and has one. */
async function halfApproved(first: "reviewer" | "reviewer2" = "reviewer"): Promise<Approval> {
  const caseId = await openCase(cases, "under_review", tenant, caseType);
  await (await cases.as(first)).approveCase({ caseId, requestId: randomUUID() });
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  const { rows } = await superuser.query("SELECT version, decision_hash FROM approvals WHERE case_id = $1", [
    caseId,
  ]);
  return { caseId, version: rows[0].version, first, decisionHash: rows[0].decision_hash.toString("hex") };
}

/** The row of a second approval, and what is wrong with it. */
function approvalOf(of: Approval, change: Record<string, string> = {}): string {
  const row = {
    tenant_id: `'${tenant}'`,
    case_id: `'${of.caseId}'`,
    review_round: "1",
    approver_id: "'judge'",
    submitter_id: "'caseworker'",
    version: String(of.version + 1),
    action: "'approve'",
    decision_hash: `'\\x${of.decisionHash}'`,
    position: "2",
    follows_position: "1",
    approvals_required: "2",
    review_started_by_id: "'reviewer'",
    ...change,
  };
  return `INSERT INTO approvals (${Object.keys(row).join(", ")}) VALUES (${Object.values(row).join(", ")})`;
}

/** The entry of a second approval, by SQL. */
function entryOf(
  { caseId, version }: Approval,
  person: string,
  to: string,
  action = "approve",
  spokeBefore?: readonly [number, string],
): string {
  return `
    INSERT INTO audit_entries (tenant_id, case_id, version, action, from_state, to_state, previous_version, principal_id,
                               on_behalf_of, spoke_before_version, spoke_before_action, request_id, event_id, event, event_digest,
                               recorded_at)
    VALUES ('${tenant}', '${caseId}', ${version + 1}, '${action}', 'under_review', '${to}', ${version}, 'mallory',
            '${person}', ${spokeBefore?.[0] ?? "NULL"}, ${spokeBefore ? `'${spokeBefore[1]}'` : "NULL"}, '${randomUUID()}', '${randomUUID()}', 'attack', sha256('attack'), now())`;
}

/** Entry and approval at once, as the service writes them. */
function both(of: Approval, person: string, to: string, change: Record<string, string> = {}): string {
  const approval = approvalOf(of, { approver_id: `'${person}'`, ...change });
  return `WITH entry AS (${entryOf(of, person, to)} RETURNING 1) ${approval}`;
}

test("a second approval by another person is written; what follows differs from it in one thing each", async () => {
  expect(await app.attempt(both(await halfApproved(), "judge", "approved"), tenant)).toBe("done 1");
});

test("one person does not give both approvals, under whatever name in between", async () => {
  const half = await halfApproved("reviewer2");
  expect(await app.attempt(entryOf(half, "reviewer2", "approved"), tenant)).toBe("audit_entries_one_voice");
  expect(await app.attempt(approvalOf(half, { approver_id: "'reviewer2'" }), tenant)).toBe(
    "approvals_once_a_person",
  );
  const again = approvalOf(half, { approver_id: "'reviewer2'", review_round: "2" });
  expect(await app.attempt(again, tenant)).toBe("approvals_first_round");
  const hushed = entryOf(half, "reviewer2", "approved", "approve", [half.version, "approve"]);
  expect(await app.attempt(hushed, tenant)).toBe("audit_entries_voice_again");
});

test("no case is approved by an entry alone, or by fewer people than it was created to want", async () => {
  const half = await halfApproved();
  expect(await app.attempt(entryOf(half, "judge", "approved"), tenant)).toBe("audit_entries_approval");
  const early = { position: "1", follows_position: "NULL" };
  expect(await app.attempt(both(half, "judge", "approved", early), tenant)).toBe("approvals_position_once");
  const fewer = { position: "1", follows_position: "NULL", approvals_required: "1" };
  expect(await app.attempt(both(half, "judge", "approved", fewer), tenant)).toBe("approvals_position_once");
  expect(await app.attempt(both(half, "judge", "under_review"), tenant)).toBe("audit_entries_approval");
});

test("the first approval does not decide where two are wanted, whatever it says of how many are", async () => {
  const caseId = await openCase(cases, "under_review", tenant, caseType);
  const none = { caseId, version: 4, first: "", decisionHash: "00".repeat(32) };
  const alone = { position: "1", follows_position: "NULL" };
  expect(await app.attempt(both(none, "judge", "under_review", alone), tenant)).toBe("done 1");
  expect(await app.attempt(both(none, "judge", "approved", alone), tenant)).toBe("audit_entries_approval");
  const lying = both(none, "judge", "approved", { ...alone, approvals_required: "1" });
  expect(await app.attempt(lying, tenant)).toBe("approvals_of_case");
});

test("both approvals are of the same decision", async () => {
  const other = { decision_hash: "sha256('another')" };
  expect(await app.attempt(both(await halfApproved(), "judge", "approved", other), tenant)).toBe(
    "approvals_same_decision",
  );
});

test("the last approval is not by whoever started the review, also not by naming another starter", async () => {
  const half = await halfApproved("reviewer2");
  expect(await app.attempt(both(half, "reviewer", "approved"), tenant)).toBe("approvals_last_not_starter");
  const unnamed = both(half, "reviewer", "approved", { review_started_by_id: "NULL" });
  expect(await app.attempt(unnamed, tenant)).toBe("approvals_last_not_starter");
  const renamed = both(half, "reviewer", "approved", { review_started_by_id: "'x'" });
  expect(await app.attempt(renamed, tenant)).toBe("approvals_review_starter");
});

test("the submitter does not approve, also not by naming another submitter", async () => {
  const half = await halfApproved();
  expect(await app.attempt(approvalOf(half, { approver_id: "'caseworker'" }), tenant)).toBe(
    "approvals_never_submitter",
  );
  const renamed = both(half, "caseworker", "approved", { submitter_id: "'x'" });
  expect(await app.attempt(renamed, tenant)).toBe("audit_entries_one_voice");
  const misnamed = both(half, "judge", "approved", { submitter_id: "'x'" });
  expect(await app.attempt(misnamed, tenant)).toBe("approvals_of_case");
});

test("an entry of another action is no approval", async () => {
  const assigned = { action: "'assign_reviewer'", approver_id: "'supervisor'", version: "3" };
  expect(await app.attempt(approvalOf(await halfApproved(), assigned), tenant)).toBe("approvals_action");
});

test("an approval names a decision by its SHA-256", async () => {
  const short = { decision_hash: "'\\x00'" };
  expect(await app.attempt(approvalOf(await halfApproved(), short), tenant)).toBe(
    "approvals_decision_hash_is_sha256",
  );
});

test("who submitted a case cannot be changed, with an approval or without", async () => {
  const change = (caseId: string, set: string) => `UPDATE cases SET ${set} WHERE case_id = '${caseId}'`;
  const { caseId: half } = await halfApproved();
  expect(await app.attempt(change(half, "submitter_id = 'x'"), tenant)).toBe("approvals_of_case");
  const caseId = await openCase(cases, "under_review");
  expect(await app.attempt(change(caseId, "submitter_id = 'x'"), tenant)).toBe("cases_submitted_by");
  expect(await app.attempt(change(caseId, "submitter_id = 'x', submitted_version = 4"), tenant)).toBe(
    "cases_submitted_by",
  );
  // A foreign key with a gap in it refers to nothing, and `reviewer` did make entry 4.
  expect(await app.attempt(change(caseId, "submitter_id = 'x', submitted_version = NULL"), tenant)).toBe(
    "cases_submitter_by_entry",
  );
  const byReviewer = "submitter_id = 'reviewer', submitted_version = 4, submit_action = 'start_review'";
  expect(await app.attempt(change(caseId, `${byReviewer}, assigned_reviewer_id = NULL`), tenant)).toBe(
    "42501",
  );
});

test("an approval belongs to an approving entry of its case by the same person", async () => {
  const half = await halfApproved();
  expect(await app.attempt(approvalOf(half, { version: "99" }), tenant)).toBe("approvals_by_entry");
  expect(await app.attempt(approvalOf(half, { version: "1" }), tenant)).toBe("approvals_by_entry");
  expect(await app.attempt(approvalOf(half, { version: String(half.version) }), tenant)).toBe(
    "approvals_by_entry",
  );
});
