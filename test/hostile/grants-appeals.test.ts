import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CaseState } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import { openAttackSession, type AttackSession } from "../support/attack-session.ts";
import {
  openCase,
  setPolicy,
  startCaseService,
  tenant,
  type CaseServiceFixture,
} from "../support/case-service.ts";
import { expectNoLeaks } from "../support/leak-check.ts";

expectNoLeaks();

/* Appeals and overrides, against the application's role in the hands of somebody who writes SQL. */

const stack = new AsyncDisposableStack();
let cases: CaseServiceFixture;
let app: AttackSession;

beforeAll(async () => {
  cases = stack.use(await startCaseService({ config: { relay: "off" } }));
  app = stack.use(await openAttackSession(cases.database.appUrl));
});
afterAll(() => stack.disposeAsync());

interface Entry {
  readonly caseId: string;
  readonly version: number;
  readonly action: string;
  readonly from: string;
  readonly to: string;
  readonly person: string;
  /** Version and action of the entry by which the person is said to have spoken before. */
  readonly spokeBefore?: readonly [number, string];
  /** Version and person of the entry that it completes. */
  readonly completes?: readonly [number, string];
}

function entryOf({ caseId, version, action, from, to, person, spokeBefore, completes }: Entry): string {
  return `
    INSERT INTO audit_entries (tenant_id, case_id, version, action, from_state, to_state, previous_version, principal_id,
                               on_behalf_of, spoke_before_version, spoke_before_action, completes_version, completes_person_id,
                               request_id, event_id, event, event_digest, recorded_at)
    VALUES ('${tenant}', '${caseId}', ${version}, '${action}', '${from}', '${to}', ${version - 1}, 'mallory', '${person}',
            ${spokeBefore?.[0] ?? "NULL"}, ${spokeBefore ? `'${spokeBefore[1]}'` : "NULL"}, ${completes?.[0] ?? "NULL"}, ${completes ? `'${completes[1]}'` : "NULL"}, '${randomUUID()}',
            '${randomUUID()}', 'attack', sha256('attack'), now())`;
}

async function versionOf(caseId: string): Promise<number> {
  return (await (await cases.as("auditor")).getCase({ caseId })).case!.version;
}

/** An appealed case in which everybody named took part: approved, overridden by two to rejected, appealed. */
async function appealedCase() {
  const caseId = await openCase(cases, "approved");
  const words = {
    targetState: CaseState.REJECTED,
    reason: "the survey was wrong",
    legalAuthority: "Act 1, s. 2",
  };
  for (const person of ["supervisor", "supervisor2"] as const) {
    await (await cases.as(person)).overrideDecision({ caseId, requestId: randomUUID(), ...words });
  }
  await (await cases.as("colleague")).appealCase({ caseId, requestId: randomUUID(), grounds: "unfair" });
  return { caseId, version: (await versionOf(caseId)) + 1 };
}

const participants = ["caseworker", "reviewer", "supervisor", "supervisor2"];

test("an appeal's review is not begun by whoever took part in what is appealed", async () => {
  const { caseId, version } = await appealedCase();
  const begun = {
    caseId,
    version,
    action: "start_appeal_review",
    from: "appealed",
    to: "appeal_under_review",
  };
  expect(await app.attempt(entryOf({ ...begun, person: "judge" }), tenant)).toBe("done 1");
  for (const person of participants) {
    expect(await app.attempt(entryOf({ ...begun, person }), tenant), person).toBe("audit_entries_one_voice");
    const hushed = entryOf({ ...begun, person, spokeBefore: [5, "approve"] });
    expect(await app.attempt(hushed, tenant), person).toBe("audit_entries_voice_again");
  }
});

test("a case row does not name as its appeal's reviewer whoever took part, or did not begin to review", async () => {
  const caseId = await openCase(cases, "appeal_under_review");
  const change = (set: string) => `UPDATE cases SET ${set} WHERE case_id = '${caseId}'`;
  for (const person of ["caseworker", "reviewer"]) {
    expect(await app.attempt(change(`appeal_reviewer_id = '${person}'`), tenant), person).toBe(
      "cases_appeal_independent",
    );
  }
  expect(await app.attempt(change("appeal_reviewer_id = 'somebody'"), tenant)).toBe(
    "cases_appeal_started_by",
  );
  expect(await app.attempt(change("appeal_reviewer_id = NULL"), tenant)).toBe("cases_appeal_known");
  expect(await app.attempt(change("appeal_review_version = NULL"), tenant)).toBe("cases_appeal_known");
  expect(await app.attempt(change("override_speaker_ids = '{judge}'"), tenant)).toBe(
    "cases_appeal_independent",
  );
  expect(await app.attempt(change("rejecter_id = 'judge'"), tenant)).toBe("cases_appeal_independent");
});

test("whoever began a review that others decided is not made the appeal's reviewer", async () => {
  const caseType = "two_person_permit";
  await setPolicy(cases, caseType);
  const caseId = await openCase(cases, "under_review", tenant, caseType);
  for (const person of ["reviewer2", "judge"] as const) {
    await (await cases.as(person)).approveCase({ caseId, requestId: randomUUID() });
  }
  await (await cases.as("colleague")).appealCase({ caseId, requestId: randomUUID(), grounds: "unfair" });
  const version = (await versionOf(caseId)) + 1;
  const entry = entryOf({
    ...{ caseId, version, action: "start_appeal_review", from: "appealed", to: "appeal_under_review" },
    person: "reviewer",
  });
  const move = (set: string) => `
    WITH entry AS (${entry} RETURNING 1)
    UPDATE cases SET version = ${version}, state = 'appeal_under_review', appeal_reviewer_id = 'reviewer',
                     appeal_review_version = ${version} ${set} WHERE case_id = '${caseId}'`;
  expect(await app.attempt(move(""), tenant)).toBe("cases_appeal_independent");
  const renamed = ", review_started_by_id = 'x', assigned_reviewer_id = 'x'";
  expect(await app.attempt(move(renamed), tenant)).toBe("approvals_review_starter");
});

test("an appeal is decided by whoever began to review it", async () => {
  const caseId = await openCase(cases, "appeal_under_review");
  const begunAt = await versionOf(caseId);
  const decision = {
    ...{
      caseId,
      version: begunAt + 1,
      action: "approve_appeal",
      from: "appeal_under_review",
      to: "appeal_approved",
    },
  };
  const attempt = (person: string, completes?: readonly [number, string]) =>
    app.attempt(entryOf({ ...decision, person, ...(completes && { completes }) }), tenant);
  expect(await attempt("judge", [begunAt, "judge"])).toBe("done 1");
  expect(await attempt("judge")).toBe("audit_entries_who_completes");
  expect(await attempt("reviewer", [begunAt, "judge"])).toBe("audit_entries_who_completes");
  expect(await attempt("reviewer", [begunAt, "reviewer"])).toBe("audit_entries_completes");
  expect(await attempt("reviewer", [4, "reviewer"])).toBe("audit_entries_completes");
});

test("an override is not carried out by whoever proposed it, nor without a proposal", async () => {
  const caseId = await openCase(cases, "approved");
  const words = {
    targetState: CaseState.REJECTED,
    reason: "the survey was wrong",
    legalAuthority: "Act 1, s. 2",
  };
  await (await cases.as("supervisor")).overrideDecision({ caseId, requestId: randomUUID(), ...words });
  const proposedAt = await versionOf(caseId);
  const done = { caseId, version: proposedAt + 1, action: "override", from: "approved", to: "rejected" };
  const attempt = (
    person: string,
    completes?: readonly [number, string],
    spokeBefore?: readonly [number, string],
  ) =>
    app.attempt(
      entryOf({ ...done, person, ...(completes && { completes }), ...(spokeBefore && { spokeBefore }) }),
      tenant,
    );
  const own = [proposedAt, "override"] as const;
  expect(await attempt("supervisor2", [proposedAt, "supervisor"])).toBe("done 1");
  expect(await attempt("supervisor", [proposedAt, "supervisor"], own)).toBe("audit_entries_who_completes");
  expect(await attempt("supervisor", [proposedAt, "supervisor2"], own)).toBe("audit_entries_completes");
  expect(await attempt("supervisor2")).toBe("audit_entries_who_completes");
  expect(await attempt("supervisor2", [proposedAt - 1, "reviewer"])).toBe("audit_entries_completes");
  expect(await attempt("caseworker", [proposedAt, "supervisor"])).toBe("audit_entries_one_voice");
});

test.each(["reject", "override"])(
  "nobody says of a first %s that they have spoken before, so as to review its appeal",
  async (action) => {
    const caseId = await openCase(cases, action === "reject" ? "under_review" : "approved");
    const version = (await versionOf(caseId)) + 1;
    const state = action === "reject" ? "under_review" : "approved";
    const said = { caseId, version, action, from: state, to: action === "reject" ? "rejected" : state };
    const attempt = (person: string, spokeBefore?: readonly [number, string]) =>
      app.attempt(entryOf({ ...said, person, ...(spokeBefore && { spokeBefore }) }), tenant);
    expect(await attempt("mallory")).toBe("done 1");
    for (const lie of [
      [version - 1, "approve"],
      [version - 1, "reject"],
    ] as const) {
      expect(await attempt("mallory", lie)).toBe("audit_entries_spoke_before");
    }
    expect(await attempt("mallory", [version, action]), "itself").toBe("audit_entries_voice_again");
    expect(await attempt("caseworker", [2, "submit"])).toBe("audit_entries_voice_again");
  },
);
