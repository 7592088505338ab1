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
  type PersonName,
} from "../support/case-service.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { openSuperuser } from "../support/superuser.ts";

expectNoLeaks();

/*
 * Somebody who took part in a case, with the application's role and SQL of their own, wants to be the one who reviews its appeal.
 * They play what a reviewer's sequence consists of, and whatever might make the case forget them, in every order.
 */

const stack = new AsyncDisposableStack();
let cases: CaseServiceFixture;
let app: AttackSession;

beforeAll(async () => {
  cases = stack.use(await startCaseService({ config: { relay: "off" } }));
  app = stack.use(await openAttackSession(cases.database.appUrl));
  await setPolicy(cases, twoApprove);
});
afterAll(() => stack.disposeAsync());

const twoApprove = "two_person_permit";
const reason = "it follows from the file";

interface Appealed {
  readonly caseId: string;
  /** What its next entry is. */
  readonly version: number;
  /** Its row, by column. */
  readonly row: Readonly<Record<string, unknown>>;
}

/** A case that was taken to `until`, then decided on by `decide`, then appealed by `appellant`. */
async function appealed(
  until: "under_review" | "approved",
  decide: (caseId: string) => Promise<unknown>,
  appellant: PersonName = "colleague",
  caseType = "permit",
): Promise<Appealed> {
  const caseId = await openCase(cases, until, tenant, caseType);
  await decide(caseId);
  const client = await cases.as(appellant);
  const answer = await client.appealCase({ caseId, requestId: randomUUID(), grounds: "unfair" });
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  const { rows } = await superuser.query("SELECT to_jsonb(c) AS row FROM cases c WHERE case_id = $1", [
    caseId,
  ]);
  return { caseId, version: answer.case!.version + 1, row: rows[0].row };
}

async function approvedBy(caseId: string, ...people: PersonName[]): Promise<void> {
  for (const person of people)
    await (await cases.as(person)).approveCase({ caseId, requestId: randomUUID() });
}

async function overridden(caseId: string): Promise<void> {
  const words = { targetState: CaseState.REJECTED, reason, legalAuthority: "Act 1, s. 2" };
  for (const person of ["supervisor", "supervisor2"] as const)
    await (await cases.as(person)).overrideDecision({ caseId, requestId: randomUUID(), ...words });
}

const rejectedBy = (person: PersonName) => async (caseId: string) =>
  (await cases.as(person)).rejectCase({ caseId, requestId: randomUUID(), reason });
const asItIs = async (): Promise<void> => {};

/** Everybody who took part, as what, in a case of which that is the only part that they took. */
const parts: readonly [part: string, person: PersonName, make: () => Promise<Appealed>][] = [
  ["submitter", "caseworker", () => appealed("approved", asItIs)],
  ["approver", "reviewer", () => appealed("approved", asItIs)],
  [
    "second approver",
    "judge",
    () => appealed("under_review", (id) => approvedBy(id, "reviewer2", "judge"), "colleague", twoApprove),
  ],
  [
    "assigned reviewer of what others approved",
    "reviewer",
    () => appealed("under_review", (id) => approvedBy(id, "reviewer2", "judge"), "colleague", twoApprove),
  ],
  [
    "assigned reviewer of what another rejected",
    "reviewer",
    () => appealed("under_review", rejectedBy("reviewer2")),
  ],
  ["rejecter", "reviewer2", () => appealed("under_review", rejectedBy("reviewer2"))],
  ["proposer of an override", "supervisor", () => appealed("approved", overridden)],
  ["overrider", "supervisor2", () => appealed("approved", overridden)],
  ["appellant", "colleague", () => appealed("approved", asItIs)],
];

/** What makes the row name somebody no more, by the columns that may name them. */
const forgetful: readonly (readonly [columns: readonly string[], set: string])[] = [
  [["submitter_id"], "submitter_id = 'nobody'"],
  [["submitter_id"], "submitter_id = NULL, submitted_version = NULL"],
  [["assigned_reviewer_id"], "assigned_reviewer_id = 'nobody'"],
  [["review_started_by_id"], "review_started_by_id = 'nobody', assigned_reviewer_id = 'nobody'"],
  [
    ["review_started_by_id"],
    "review_started_by_id = NULL, review_version = NULL, assigned_reviewer_id = NULL",
  ],
  [["rejecter_id"], "rejecter_id = NULL"],
  [["appellant_id"], "appellant_id = 'nobody'"],
  [["override_speaker_ids", "overrider_ids"], "override_speaker_ids = '{}', overrider_ids = '{}'"],
];

/** The moves of whoever wants to review, by name; each is a few statements, of which each may be refused. */
function movesOf(target: Appealed, person: string): ReadonlyMap<string, readonly string[]> {
  const { caseId, version, row } = target;
  const update = (set: string): string => `UPDATE cases SET ${set} WHERE case_id = '${caseId}'`;
  const insert = (principal: string, onBehalfOf: string, spokeBefore: string): string => `
    INSERT INTO audit_entries (tenant_id, case_id, version, action, from_state, to_state, previous_version, principal_id, on_behalf_of,
                               spoke_before_version, spoke_before_action, request_id, event_id, event, event_digest, recorded_at)
    VALUES ('${tenant}', '${caseId}', ${version}, 'start_appeal_review', 'appealed', 'appeal_under_review', ${version - 1},
            '${principal}', ${onBehalfOf}, ${spokeBefore}, '${randomUUID()}', '${randomUUID()}', 'attack', sha256('attack'), now())`;
  const named = `version = ${version}, state = 'appeal_under_review', review_round = 2, appeal_reviewer_id = '${person}',
                 appeal_review_version = ${version}`;
  const names = (column: string): boolean => JSON.stringify(row[column]).includes(`"${person}"`);
  const forgets = forgetful.flatMap(([columns, set]) => (columns.some(names) ? [set] : []));
  const unstarted =
    "review_started_by_id = NULL, review_version = NULL, assigned_reviewer_id = NULL, rejecter_id = NULL";
  return new Map([
    ["begin", [insert(person, "NULL", "NULL, NULL"), insert("mallory", `'${person}'`, "5, 'approve'")]],
    ["name", [update(named)]],
    ["forget", forgets.map(update)],
    [
      "rewind",
      [update(`version = 3, state = 'submitted', ${unstarted}, appellant_id = NULL, appealed_at = NULL`)],
    ],
    ["name and forget", forgets.map((set) => update(`${named}, ${set}`))],
  ]);
}

/** Plays all moves in one order; the database's own refusals are passed over, since another move may come next. */
async function play(target: Appealed, person: string, order: readonly string[]): Promise<string> {
  const moves = movesOf(target, person);
  const statements = order.flatMap((name) => moves.get(name)!);
  const tries = statements.map(
    (statement) => `
      BEGIN ${statement}; EXCEPTION WHEN integrity_constraint_violation THEN NULL; END;
      IF EXISTS (SELECT FROM cases WHERE case_id = '${target.caseId}' AND appeal_reviewer_id = '${person}') THEN
        RAISE EXCEPTION 'reached' USING ERRCODE = 'RCHED';
      END IF;`,
  );
  return app.attempt(`DO $do$ BEGIN ${tries.join("\n")} END $do$`, tenant);
}

function ordersOf(names: readonly string[]): readonly (readonly string[])[] {
  if (names.length === 0) return [[]];
  return names.flatMap((name) =>
    ordersOf(names.filter((other) => other !== name)).map((rest) => [name, ...rest]),
  );
}

test("the moves are those by which somebody who took no part becomes the reviewer", async () => {
  const target = await appealed("approved", asItIs);
  expect(await play(target, "judge", ["begin", "name"])).toBe("RCHED");
  expect(await play(target, "judge", ["rewind", "begin", "name"])).toBe("RCHED");
  expect(await play(target, "judge", ["name"])).toBe("done 0");
  expect(await play(target, "judge", ["begin"])).toBe("done 0");
});

test.each(parts)(
  "the %s does not become the appeal's reviewer by any order of moves",
  async (_, person, make) => {
    const target = await make();
    const reached = [];
    const moves = [...movesOf(target, person)].flatMap(([name, statements]) =>
      statements.length > 0 ? [name] : [],
    );
    for (const order of ordersOf(moves)) {
      const outcome = await play(target, person, order);
      if (outcome !== "done 0") reached.push(`${order.join(", ")}: ${outcome}`);
    }
    expect(reached).toEqual([]);
  },
);
