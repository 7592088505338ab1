import { createHash, randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CaseState } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import { openCase } from "./support/case-service.ts";
import { listAllEvents, startPair, type Pair } from "./support/pair.ts";
import { refusalOf } from "./support/reason-of.ts";
import { openSuperuser } from "./support/superuser.ts";

let pair: Pair;
beforeAll(async () => {
  pair = await startPair();
});
afterAll(() => pair[Symbol.asyncDispose]());

const founded = { reason: "the applicant asked", legalBasis: "Privacy Act, s. 17" };
const write = (caseId: string) => ({ caseId, requestId: randomUUID(), ...founded });
/** What the people of the tests put in a case, and nobody else writes. */
const title = "Extension of a quay";
const secrets = ["Ada Byron", "ada@example.org", "extend quay 4 by thirty metres", title];

/** Every column of every table of the database in which one of the words stands, as text or as bytes. */
async function whereItStands(words: readonly string[]): Promise<readonly string[]> {
  await using superuser = await openSuperuser(pair.cases.database.superuserUrl);
  const { rows: columns } = await superuser.query<{ table: string; name: string; type: string }>(
    `SELECT attrelid::regclass::text AS table, attname AS name, atttypid::regtype::text AS type FROM pg_attribute
       JOIN pg_class ON pg_class.oid = attrelid
      WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped`,
  );
  const found: string[] = [];
  for (const { table, name, type } of columns) {
    const text = type === "bytea" ? `encode(${name}, 'escape')` : `${name}::text`;
    const { rowCount } = await superuser.query(
      `SELECT FROM ${table} WHERE EXISTS (SELECT FROM unnest($1::text[]) AS word WHERE position(word IN ${text}) > 0)`,
      [words],
    );
    if (rowCount !== 0) found.push(`${table}.${name}`);
  }
  return found.toSorted();
}

test("an erased case's content and salts are nowhere in the database any more, and its answers neither", async () => {
  const caseworker = await pair.cases.as("caseworker");
  const caseId = await openCase(pair.cases, "draft");
  const update = {
    requestId: randomUUID(),
    caseId,
    content: { title },
    updateMask: { paths: ["title"] },
  };
  await caseworker.updateCase(update);
  const submit = { requestId: randomUUID(), caseId };
  await caseworker.submitCase(submit);
  expect(await whereItStands(secrets)).toEqual(["case_contents.content", "recorded_answers.answer"]);

  const erasure = write(caseId);
  const admin = await pair.cases.admin();
  const first = await admin.eraseCase(erasure);

  expect(await whereItStands(secrets)).toEqual([]);
  await using superuser = await openSuperuser(pair.cases.database.superuserUrl);
  const { rows } = await superuser.query(
    "SELECT count(*)::int AS versions, count(salt)::int AS salts, count(content)::int AS contents FROM case_contents WHERE case_id = $1",
    [caseId],
  );
  expect(rows).toEqual([{ versions: 2, salts: 0, contents: 0 }]);
  const hashes = "SELECT request_id FROM recorded_answers WHERE case_id = $1 AND request_hash <> ''";
  expect((await superuser.query(hashes, [caseId])).rows).toEqual([{ request_id: erasure.requestId }]);
  expect(await refusalOf(caseworker.submitCase(submit))).toBe("AlreadyExists REQUEST_ALREADY_APPLIED");
  expect(await refusalOf(caseworker.updateCase(update))).toBe("AlreadyExists REQUEST_ALREADY_APPLIED");
  expect(await admin.eraseCase(erasure), "the erasure itself is replayed").toEqual(first);
});

test("an erased case is shown as such, is listed, and keeps its commitment", async () => {
  const caseId = await openCase(pair.cases, "approved");
  const auditor = await pair.cases.as("auditor");
  const { case: before } = await auditor.getCase({ caseId });
  await (await pair.cases.admin()).eraseCase(write(caseId));
  const { case: after } = await auditor.getCase({ caseId });
  expect(after).toMatchObject({
    erased: true,
    state: before!.state,
    contentCommitment: before!.contentCommitment,
  });
  expect(after?.content).toBeUndefined();
  const { cases: listed } = await auditor.listCases({ states: [CaseState.APPROVED] });
  expect(listed.find((found) => found.caseId === caseId)).toEqual(after);
});

test("events stay as they were: each still has its digest, and the audit service holds the same bytes", async () => {
  const caseId = await openCase(pair.cases, "closed");
  const auditor = await pair.cases.as("auditor");
  const before = (await auditor.getCaseHistory({ caseId })).entries;
  await (await pair.cases.admin()).eraseCase(write(caseId));
  const { entries } = await auditor.getCaseHistory({ caseId });
  expect(entries.slice(0, -1)).toEqual(before);
  expect(entries.at(-1)).toMatchObject({
    eventType: "caseflow.case.erased",
    reason: founded.reason,
    legalAuthority: founded.legalBasis,
    actor: { id: "operator" },
    fromState: CaseState.CLOSED,
    toState: CaseState.CLOSED,
    contentCommitment: before[0]!.contentCommitment,
  });
  const { audit, cases } = pair;
  const told = async () =>
    (await listAllEvents(audit.url, cases.issuer)).filter(({ event }) => event?.subject === caseId);
  await expect.poll(async () => (await told()).length, { timeout: 10_000 }).toBe(entries.length);
  const digests = (await told()).map(({ eventBytes }) =>
    createHash("sha256").update(eventBytes).digest("hex"),
  );
  expect(digests).toEqual(entries.map(({ eventDigest }) => Buffer.from(eventDigest).toString("hex")));
});

test("a held case is not erased until the hold is released, and each step is in its history", async () => {
  const caseId = await openCase(pair.cases, "submitted");
  const admin = await pair.cases.admin();
  expect((await admin.placeHold(write(caseId))).case).toMatchObject({ onHold: true, version: 3 });
  expect(await refusalOf(admin.eraseCase(write(caseId)))).toBe("FailedPrecondition CASE_ON_HOLD");
  expect(await refusalOf(admin.placeHold(write(caseId)))).toBe("FailedPrecondition CASE_ON_HOLD");
  await (await pair.cases.as("supervisor")).assignReviewer({ ...write(caseId), reviewerId: "reviewer" });
  expect((await admin.releaseHold(write(caseId))).case).toMatchObject({ onHold: false, version: 5 });
  expect(await refusalOf(admin.releaseHold(write(caseId)))).toBe("FailedPrecondition INVALID_TRANSITION");
  expect((await admin.eraseCase(write(caseId))).case).toMatchObject({ erased: true, version: 6 });
  expect(await refusalOf(admin.eraseCase(write(caseId)))).toBe("FailedPrecondition INVALID_TRANSITION");
  const { entries } = await (await pair.cases.as("auditor")).getCaseHistory({ caseId });
  expect(entries.slice(2).map(({ eventType }) => eventType.replace("caseflow.case.", ""))).toEqual([
    ...["held", "reviewer_assigned", "hold_released", "erased"],
  ]);
});

test.each(["placeHold", "releaseHold", "eraseCase"] as const)(
  "%s wants a reason and a legal basis",
  async (method) => {
    const caseId = await openCase(pair.cases);
    const admin = await pair.cases.admin();
    for (const lacking of [{ reason: "" }, { reason: " \n" }, { legalBasis: "" }]) {
      const call = admin[method]({ ...write(caseId), ...lacking });
      expect(await refusalOf(call)).toBe("FailedPrecondition REASON_REQUIRED");
    }
  },
);

test("an erased draft takes no new content, and is not submitted", async () => {
  const caseId = await openCase(pair.cases);
  await (await pair.cases.admin()).eraseCase(write(caseId));
  const caseworker = await pair.cases.as("caseworker");
  const update = { ...write(caseId), content: { title: "again" }, updateMask: { paths: ["title"] } };
  expect(await refusalOf(caseworker.updateCase(update))).toBe("FailedPrecondition INVALID_TRANSITION");
  expect(await refusalOf(caseworker.submitCase(write(caseId)))).toBe("FailedPrecondition INVALID_TRANSITION");
});

test("of an erasure and changes sent at once, none leaves content or an answer with content behind", async () => {
  const caseId = await openCase(pair.cases);
  const caseworker = await pair.cases.as("caseworker");
  const admin = await pair.cases.admin();
  const updates = Array.from({ length: 10 }, (_, index) =>
    caseworker.updateCase({
      ...write(caseId),
      content: { title: `Try ${index}` },
      updateMask: { paths: ["title"] },
    }),
  );
  const erase = async (): Promise<string> => {
    const request = write(caseId);
    for (;;) {
      const outcome = await refusalOf(admin.eraseCase(request));
      if (outcome !== "Aborted VERSION_MISMATCH") return outcome;
    }
  };
  const [outcome] = await Promise.all([erase(), ...updates.map(refusalOf)]);
  expect(outcome).toBe("accepted");
  await using superuser = await openSuperuser(pair.cases.database.superuserUrl);
  const { rows } = await superuser.query(
    `SELECT (SELECT count(content)::int FROM case_contents WHERE case_id = $1) AS contents,
            (SELECT count(*)::int FROM recorded_answers WHERE case_id = $1 AND position('Byron'::bytea IN answer) > 0) AS answers`,
    [caseId],
  );
  expect(rows).toEqual([{ contents: 0, answers: 0 }]);
});
