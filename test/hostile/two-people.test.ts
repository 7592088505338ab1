import { randomUUID } from "node:crypto";
import { timestampNow, type Timestamp } from "@bufbuild/protobuf/wkt";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createCaseClient, type CaseClient } from "#libs/client/case-client.ts";
import { CaseState } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import {
  openCase,
  setPolicy,
  startCaseService,
  tenant,
  type CaseServiceFixture,
} from "../support/case-service.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { refusalOf } from "../support/reason-of.ts";
import { openSuperuser } from "../support/superuser.ts";

expectNoLeaks();

/*
 * One person at many doors: themselves, through programs that act for them, and through an importer, at once and again and
 * again, on two replicas. They still have one voice.
 */

const caseType = "two_person_permit";
const stack = new AsyncDisposableStack();
let replicas: readonly CaseServiceFixture[];

beforeAll(async () => {
  const config = { relay: "off" } as const;
  const first = stack.use(await startCaseService({ config }));
  const { issuer, database } = first;
  replicas = [first, stack.use(await startCaseService({ config, issuer, database }))];
  await setPolicy(first, caseType);
});
afterAll(() => stack.disposeAsync());

/** Every way in which one person can act, on both replicas. */
async function doorsOf(person: string): Promise<readonly { client: CaseClient; imports: boolean }[]> {
  const roles = ["reviewer", "supervisor", "caseworker"];
  const tokens = [
    { sub: person, roles },
    { sub: "portal", kind: "service" as const, roles, onBehalfOf: person },
    { sub: "desk", kind: "service" as const, roles, onBehalfOf: person },
    { sub: "importer", roles: ["importer"] },
  ];
  const doors = [];
  for (const { url, issuer } of replicas) {
    for (const token of tokens) {
      const client = stack.use(createCaseClient({ url, token: await issuer.token({ tenant, ...token }) }));
      doors.push({ client, imports: token.sub === "importer" });
    }
  }
  return doors;
}

interface Write {
  readonly requestId: string;
  readonly caseId: string;
  readonly origin?: { readonly onBehalfOf: string; readonly occurredAt: Timestamp };
}

type Act = (client: CaseClient, write: Write) => Promise<unknown>;

/** How often an act of one person that went through every door at once was accepted. */
async function rush(person: string, caseId: string, act: Act): Promise<number> {
  const outcomes = await outcomesOf(person, caseId, act);
  return outcomes.filter((outcome) => outcome === "accepted").length;
}

/** The same where no door lets the person through, and each for the same reason. */
async function rushInVain(person: string, caseId: string, act: Act): Promise<string> {
  const [outcome = "", ...others] = new Set(await outcomesOf(person, caseId, act));
  expect(others, person).toEqual([]);
  return outcome;
}

/** Sends the same act of one person through every door, three times each, all at once. */
async function outcomesOf(person: string, caseId: string, act: Act): Promise<readonly string[]> {
  const doors = await doorsOf(person);
  return Promise.all(
    [...doors, ...doors, ...doors].map(({ client, imports }) => {
      const origin = { onBehalfOf: person, occurredAt: timestampNow() };
      const write = { requestId: randomUUID(), caseId, ...(imports && { origin }) };
      return refusalOf(act(client, write));
    }),
  );
}

async function stored(text: string, caseId: string): Promise<readonly unknown[]> {
  await using superuser = await openSuperuser(replicas[0]!.database.superuserUrl);
  return (await superuser.query(text, [caseId])).rows;
}

async function stateOf(caseId: string): Promise<CaseState> {
  return (await (await replicas[0]!.as("auditor")).getCase({ caseId })).case!.state;
}

test("one person does not give both approvals, through however many doors at once", async () => {
  const caseId = await openCase(replicas[0]!, "under_review", tenant, caseType);
  expect(await rush("reviewer2", caseId, (client, write) => client.approveCase(write))).toBe(1);
  expect(await stateOf(caseId)).toBe(CaseState.UNDER_REVIEW);
  expect(await rushInVain("reviewer", caseId, (client, write) => client.approveCase(write))).toBe(
    "FailedPrecondition NOT_INDEPENDENT",
  );
  expect(await rushInVain("caseworker", caseId, (client, write) => client.approveCase(write))).toBe(
    "FailedPrecondition SELF_APPROVAL",
  );
  expect(await rush("judge", caseId, (client, write) => client.approveCase(write))).toBe(1);
  expect(await stateOf(caseId)).toBe(CaseState.APPROVED);
  expect(
    await stored("SELECT approver_id FROM approvals WHERE case_id = $1 ORDER BY position", caseId),
  ).toEqual([{ approver_id: "reviewer2" }, { approver_id: "judge" }]);
});

test("of many people who approve at once two do, and both approve the same decision", async () => {
  const caseId = await openCase(replicas[0]!, "under_review", tenant, caseType);
  const crowd = Array.from({ length: 8 }, (_, index) => `reviewer-${index}`);
  const accepted = await Promise.all(
    crowd.map((person) => rush(person, caseId, (client, write) => client.approveCase(write))),
  );
  expect(accepted.filter((count) => count > 0)).toEqual([1, 1]);
  const rows = await stored(
    `SELECT count(*)::int AS approvals, count(DISTINCT approver_id)::int AS people, count(DISTINCT decision_hash)::int AS decisions
       FROM approvals WHERE case_id = $1`,
    caseId,
  );
  expect(rows).toEqual([{ approvals: 2, people: 2, decisions: 1 }]);
});

test("nobody who took part reviews the appeal, through however many doors at once", async () => {
  const caseId = await openCase(replicas[0]!, "appealed", tenant, caseType);
  for (const person of ["caseworker", "reviewer", "reviewer2"]) {
    expect(await rushInVain(person, caseId, (client, write) => client.startAppealReview(write))).toBe(
      "FailedPrecondition NOT_INDEPENDENT",
    );
  }
  expect(await rush("judge", caseId, (client, write) => client.startAppealReview(write))).toBe(1);
  const reason = "it does not follow from the file";
  for (const person of ["reviewer", "reviewer2", "somebody"]) {
    const decide = (client: CaseClient, write: Write) => client.approveAppeal({ ...write, reason });
    expect(await rushInVain(person, caseId, decide)).toBe("FailedPrecondition REVIEWER_REQUIRED");
  }
  expect(await rush("judge", caseId, (client, write) => client.approveAppeal({ ...write, reason }))).toBe(1);
});

test("one supervisor does not override alone, through however many doors at once", async () => {
  const caseId = await openCase(replicas[0]!, "approved", tenant, caseType);
  const words = {
    targetState: CaseState.REJECTED,
    reason: "the survey was wrong",
    legalAuthority: "Act 1, s. 2",
  };
  const override = (client: CaseClient, write: Write) => client.overrideDecision({ ...write, ...words });
  expect(await rush("supervisor", caseId, override)).toBe(1);
  expect(await rushInVain("caseworker", caseId, override)).toBe("FailedPrecondition SELF_APPROVAL");
  expect(await stateOf(caseId)).toBe(CaseState.APPROVED);
  expect(await rush("supervisor2", caseId, override)).toBe(1);
  expect(await stateOf(caseId)).toBe(CaseState.REJECTED);
});

test("a person who says they act for somebody else has no second voice: the token is refused", async () => {
  const caseId = await openCase(replicas[0]!, "under_review", tenant, caseType);
  await (await replicas[0]!.as("reviewer")).approveCase({ requestId: randomUUID(), caseId });
  const claims = {
    tenant,
    sub: "reviewer",
    kind: "person",
    roles: ["reviewer"],
    onBehalfOf: "judge",
  } as const;
  const token = await replicas[0]!.issuer.token(claims);
  await using client = createCaseClient({ url: replicas[0]!.url, token });
  expect(await refusalOf(client.approveCase({ requestId: randomUUID(), caseId }))).toBe(
    "Unauthenticated UNAUTHENTICATED",
  );
  expect(await stateOf(caseId)).toBe(CaseState.UNDER_REVIEW);
});

test("a retry of the first approval does not become the second", async () => {
  const caseId = await openCase(replicas[0]!, "under_review", tenant, caseType);
  const reviewer = await replicas[0]!.as("reviewer");
  const request = { requestId: randomUUID(), caseId };
  const first = await reviewer.approveCase(request);
  const again = await Promise.all(Array.from({ length: 20 }, () => reviewer.approveCase(request)));
  for (const answer of again) expect(answer).toEqual(first);
  expect(await stateOf(caseId)).toBe(CaseState.UNDER_REVIEW);
});
