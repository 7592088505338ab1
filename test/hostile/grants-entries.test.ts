import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { actions, caseStates, type CaseState } from "#services/case/domain/case.ts";
import { transitions } from "#services/case/domain/transitions.ts";
import { openAttackSession, type AttackSession } from "../support/attack-session.ts";
import { openCase, startCaseService, tenant, type CaseServiceFixture } from "../support/case-service.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { openSuperuser } from "../support/superuser.ts";

expectNoLeaks();

/* What the application's role cannot write down, whoever holds its password: entries, case rows and approvals. */

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
  readonly previousVersion: number | null;
  readonly action: string;
  readonly from: string | null;
  readonly to: string;
  readonly event: string;
  readonly digest: string;
  /** New ones when absent. */
  readonly requestId?: string;
  readonly eventId?: string;
}

/** The text of an INSERT. Digests are SQL. */
function entryOf(entry: Entry, ending = ""): string {
  const { caseId, version, previousVersion, action, from, to, event, digest } = entry;
  const { requestId = randomUUID(), eventId = randomUUID() } = entry;
  const fromState = from === null ? "NULL" : `'${from}'`;
  return `
    INSERT INTO audit_entries (tenant_id, case_id, version, action, from_state, to_state, previous_version, principal_id,
                               request_id, event_id, event, event_digest, recorded_at)
    VALUES ('${tenant}', '${caseId}', ${version}, '${action}', ${fromState}, '${to}', ${previousVersion}, 'mallory',
            '${requestId}', '${eventId}', '${event}', ${digest}, now()) ${ending}`;
}

function nextOf(caseId: string, version: number, state: string): Entry {
  const event = "attack";
  return {
    ...{ caseId, version: version + 1, previousVersion: version, action: "update", from: state, to: state },
    ...{ event, digest: `sha256('${event}')` },
  };
}

async function versionOf(caseId: string): Promise<number> {
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  const { rows } = await superuser.query<{ version: number }>(
    "SELECT version FROM cases WHERE case_id = $1",
    [caseId],
  );
  return rows[0]!.version;
}

test.each(caseStates)(
  "no entry can be written for a case in %s that contradicts the state table",
  async (state) => {
    const caseId = await openCase(cases, state);
    const next = nextOf(caseId, await versionOf(caseId), state);
    for (const action of actions) {
      for (const to of caseStates) {
        const outcome = await app.attempt(entryOf({ ...next, action, to }), tenant);
        const expected = isAllowed(state, action, to)
          ? lacking(state, action, to)
          : "audit_entries_transition_allowed";
        expect(outcome, `${action} to ${to}`).toBe(expected);
      }
    }
  },
);

/** What the state table allows takes more than the entry: an approval, or the step that it completes. */
function lacking(state: CaseState, action: string, to: CaseState): string {
  if (action === "approve") return "audit_entries_approval";
  const completes =
    ["approve_appeal", "reject_appeal"].includes(action) || (action === "override" && to !== state);
  return completes ? "audit_entries_who_completes" : "done 1";
}

function isAllowed(from: CaseState, action: string, to: CaseState): boolean {
  const rows = transitions.filter(
    (row) => row.action === action && (row.from === "any" || row.from === from),
  );
  return rows.some((row) => (row.from === "any" ? to === from : row.to.includes(to)));
}

test("an entry cannot lie about where its case was, leave a version out, or come twice", async () => {
  const caseId = await openCase(cases, "submitted");
  const next = nextOf(caseId, 2, "submitted");
  const lies: readonly [string, Partial<Entry>][] = [
    ["audit_entries_follow_predecessor", { action: "submit", from: "draft", to: "submitted" }],
    ["audit_entries_follow_predecessor", { action: "close", from: "approved", to: "closed" }],
    ["audit_entries_follow_predecessor", { action: "erase", version: 4, previousVersion: 3 }],
    ["audit_entries_follow_predecessor", { action: "erase", caseId: randomUUID() }],
    ["audit_entries_predecessor_is_previous", { action: "erase", version: 4 }],
    ["audit_entries_predecessor_is_previous", { action: "erase", version: 4, previousVersion: null }],
    ["audit_entries_predecessor_is_previous", { action: "create", from: null, to: "draft" }],
    ["audit_entries_predecessor_is_previous", { action: "erase", version: 0, previousVersion: -1 }],
    [
      "audit_entries_pkey",
      { action: "submit", version: 2, previousVersion: 1, from: "draft", to: "submitted" },
    ],
    ["audit_entries_pkey", { action: "create", version: 1, previousVersion: null, from: null, to: "draft" }],
    ["audit_entries_digest_holds", { action: "erase", digest: "sha256('other')" }],
    ["audit_entries_digest_holds", { action: "erase", digest: "'\\x00'" }],
    ["audit_entries_event_size", { action: "erase", event: "", digest: "sha256('')" }],
  ];
  expect(await app.attempt(entryOf({ ...next, action: "erase" }), tenant), "nothing wrong").toBe("done 1");
  for (const [constraint, lie] of lies) {
    expect(await app.attempt(entryOf({ ...next, ...lie }), tenant), JSON.stringify(lie)).toBe(constraint);
  }
});

test("no two entries have an event id in common, nor a person's a request id, be the answer gone or not", async () => {
  const [one, other] = [await openCase(cases, "submitted"), await openCase(cases, "submitted")];
  const both = (same: Partial<Entry>) =>
    [one, other]
      .map((caseId) => entryOf({ ...nextOf(caseId, 2, "submitted"), action: "erase", ...same }))
      .join("; ");
  expect(await app.attempt(both({ eventId: randomUUID() }), tenant)).toBe("audit_entries_event_id_once");
  expect(await app.attempt(both({ requestId: randomUUID() }), tenant)).toBe("audit_entries_request_id_once");
});

test("no entry, content, answer or approval can be written over, by whatever command", async () => {
  const caseId = await openCase(cases, "closed");
  const rewritings = [
    entryOf(
      { ...nextOf(caseId, 1, "draft"), action: "submit", to: "submitted" },
      "ON CONFLICT (tenant_id, case_id, version) DO UPDATE SET event = excluded.event, event_digest = excluded.event_digest",
    ),
    ...["audit_entries", "case_contents", "recorded_answers", "approvals"].flatMap((table) => [
      `MERGE INTO ${table} t USING (SELECT 1) s ON t.case_id = '${caseId}' WHEN MATCHED THEN UPDATE SET case_id = t.case_id`,
      `MERGE INTO ${table} t USING (SELECT 1) s ON t.case_id = '${caseId}' WHEN MATCHED THEN DELETE`,
      `WITH gone AS (DELETE FROM ${table} RETURNING *) SELECT FROM gone`,
    ]),
    `DELETE FROM cases WHERE case_id = '${caseId}'`,
  ];
  for (const text of rewritings) expect(await app.attempt(text, tenant), text).toBe("42501");
});

test("a case row stands at an entry that is there, in that entry's state", async () => {
  const caseId = await openCase(cases, "under_review");
  const moves: readonly [string, string][] = [
    ["version = version + 1", "cases_at_latest_entry"],
    ["state = 'approved'", "cases_at_latest_entry"],
    ["state = 'closed', version = version + 1", "cases_at_latest_entry"],
    ["version = 0", "cases_version_from_one"],
    ["content_version = 99", "cases_version_from_one"],
    ["tenant_id = 'acme-1'", "42501"],
    ["submitter_id = NULL, submitted_version = NULL", "cases_submitter_known"],
    ["assigned_reviewer_id = submitter_id", "cases_reviewer_not_submitter"],
    ["rejecter_id = submitter_id", "cases_rejecter_not_submitter"],
    ["review_started_by_id = NULL", "cases_reviewer_known"],
    ["review_version = NULL", "cases_reviewer_known"],
    ["approvals_required = 0", "cases_approvals_required"],
    ["approvals_required = 2", "cases_policy_fixed"],
    ["policy_version = 7", "cases_policy_fixed"],
    ["created_policy_version = 7", "42501"],
    ["created_approvals_required = 2, approvals_required = 2", "42501"],
    ["appeal_window_days = 3650", "42501"],
    ["case_type = 'x'", "42501"],
    ["external_reference = 'x'", "42501"],
    ["creator_id = 'x'", "42501"],
    ["created_at = now()", "42501"],
    ["review_started_by_id = 'x', assigned_reviewer_id = 'x'", "cases_review_started_by"],
    ["review_started_by_id = 'x'", "cases_starter_was_assigned"],
    ["overrider_ids = '{x}'", "cases_overriders"],
    ["overrider_ids = '{x,x}'", "cases_overriders"],
    ["proposer_id = 'x'", "cases_proposal_whole"],
    ["on_hold = true, erased = true", "cases_held_is_kept"],
    ["content_commitment = '\\x00'", "cases_commitment_is_sha256"],
  ];
  for (const [set, constraint] of moves) {
    expect(await app.attempt(`UPDATE cases SET ${set} WHERE case_id = '${caseId}'`, tenant), set).toBe(
      constraint,
    );
  }
});

test("content cannot be written whose commitment does not hold", async () => {
  const caseId = await openCase(cases);
  const salt = `sha256('salt')`;
  const insert = (commitment: string, of = `'${caseId}'`, saltOf = salt) =>
    `INSERT INTO case_contents (tenant_id, case_id, content_version, salt, content, commitment)
     VALUES ('${tenant}', ${of}, 2, ${saltOf}, 'content', ${commitment})`;
  expect(await app.attempt(insert(`sha256(${salt} || 'content')`), tenant)).toBe("done 1");
  expect(await app.attempt(insert("sha256('other')"), tenant)).toBe("case_contents_commitment_holds");
  expect(await app.attempt(insert(`sha256(${salt} || 'content')`, "gen_random_uuid()"), tenant)).toBe(
    "case_contents_of_case",
  );
  const own = `'${caseId}'`;
  expect(await app.attempt(insert("sha256('other')", own, "NULL"), tenant)).toBe(
    "case_contents_erased_whole",
  );
  const short = "'\\x00'::bytea";
  expect(await app.attempt(insert(`sha256(${short} || 'content')`, own, short), tenant)).toBe(
    "case_contents_salt_length",
  );
  const rewrite = (set: string) => `UPDATE case_contents SET ${set} WHERE case_id = '${caseId}'`;
  expect(await app.attempt(rewrite("content = 'other'"), tenant)).toBe("case_contents_commitment_holds");
  expect(await app.attempt(rewrite(`salt = ${salt}`), tenant)).toBe("case_contents_commitment_holds");
  expect(await app.attempt(rewrite("content = NULL"), tenant)).toBe("case_contents_erased_whole");
  expect(await app.attempt(rewrite("commitment = sha256('other')"), tenant)).toBe("42501");
});

test("nothing is queued, answered or buried for an entry that is not there, nor queued in another lane", async () => {
  const caseId = await openCase(cases);
  const lane = `get_byte(sha256('${tenant}'), 0) % 64`;
  const queue = (version: number, inLane = lane) =>
    `INSERT INTO outbox (tenant_id, event_id, lane, case_id, version, traceparent)
     VALUES ('${tenant}', '${randomUUID()}', ${inLane}, '${caseId}', ${version}, '')`;
  const answer = (version: number) =>
    `INSERT INTO recorded_answers (tenant_id, principal_id, request_id, request_hash, answer, case_id, version, expires_at)
     VALUES ('${tenant}', 'mallory', '${randomUUID()}', '', '', '${caseId}', ${version}, now())`;
  for (const write of [queue, answer]) expect(await app.attempt(write(1), tenant)).toBe("done 1");
  expect(await app.attempt(queue(2), tenant)).toBe("outbox_of_entry");
  expect(await app.attempt(queue(1, `(${lane} + 1) % 64`), tenant)).toBe("outbox_lane_of_tenant");
  expect(await app.attempt(answer(2), tenant)).toBe("recorded_answers_of_entry");
  const bury = (version: number, detail = "") =>
    `INSERT INTO dead_letters (tenant_id, event_id, case_id, version, reason, detail, dead_at)
     VALUES ('${tenant}', '${randomUUID()}', '${caseId}', ${version}, 'REASON', '${detail}', now())`;
  await using relay = await openAttackSession(cases.database.relayUrl);
  expect(await relay.attempt(bury(1))).toBe("done 1");
  expect(await relay.attempt(bury(2))).toBe("dead_letters_of_entry");
  expect(await relay.attempt(bury(1, "x".repeat(1_001)))).toBe("dead_letters_detail_length");
});
