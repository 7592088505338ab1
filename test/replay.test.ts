import { randomUUID } from "node:crypto";
import { toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createCaseClient, type CaseClient } from "#libs/client/case-client.ts";
import {
  CreateCaseResponseSchema,
  SubmitCaseResponseSchema,
  type SubmitCaseResponse,
} from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import {
  content,
  openCase,
  startCaseService,
  tenant,
  type CaseServiceFixture,
} from "./support/case-service.ts";
import { refusalOf } from "./support/reason-of.ts";
import { rowDigests } from "./support/row-digests.ts";
import { openSuperuser } from "./support/superuser.ts";

let cases: CaseServiceFixture;
beforeAll(async () => {
  cases = await startCaseService({ config: { relay: "off" } });
});
afterAll(() => cases[Symbol.asyncDispose]());

interface Answer {
  readonly bytes: string;
  readonly replayed: boolean;
}

async function submit(client: CaseClient, request: Parameters<CaseClient["submitCase"]>[0]): Promise<Answer> {
  let replayed = false;
  const response: SubmitCaseResponse = await client.submitCase(request, {
    onHeader: (headers) => (replayed = headers.get("caseflow-replayed") === "true"),
  });
  return { bytes: Buffer.from(toBinary(SubmitCaseResponseSchema, response)).toString("hex"), replayed };
}

async function countEntries(caseId: string): Promise<number> {
  await using client = await openSuperuser(cases.database.superuserUrl);
  const { rows } = await client.query("SELECT count(*)::int AS n FROM audit_entries WHERE case_id = $1", [
    caseId,
  ]);
  return rows[0].n;
}

test("a replayed request id returns the first answer's bytes, is marked, and writes nothing", async () => {
  const caseworker = await cases.as("caseworker");
  const request = { requestId: randomUUID(), caseId: await openCase(cases) };
  const first = await submit(caseworker, request);
  const before = await rowDigests(cases.database.superuserUrl);
  const again = await submit(caseworker, request);
  expect(first.replayed).toBe(false);
  expect(again).toEqual({ bytes: first.bytes, replayed: true });
  expect(await rowDigests(cases.database.superuserUrl)).toEqual(before);
});

test("a replay gives the first answer also after the case has moved on", async () => {
  const caseworker = await cases.as("caseworker");
  const request = { requestId: randomUUID(), caseId: await openCase(cases) };
  const first = await submit(caseworker, request);
  const supervisor = await cases.as("supervisor");
  await supervisor.assignReviewer({
    requestId: randomUUID(),
    caseId: request.caseId,
    reviewerId: "reviewer",
  });
  expect(await submit(caseworker, request)).toEqual({ bytes: first.bytes, replayed: true });
});

test.each([
  ["no", undefined],
  ["the right", 1],
])(
  "of 50 sent at once with %s expected version one takes effect and all get the same bytes",
  async (_name, expectedVersion) => {
    const caseworker = await cases.as("caseworker");
    const caseId = await openCase(cases);
    const request = { requestId: randomUUID(), caseId, ...(expectedVersion && { expectedVersion }) };
    const answers = await Promise.all(Array.from({ length: 50 }, () => submit(caseworker, request)));
    expect(new Set(answers.map(({ bytes }) => bytes)).size).toBe(1);
    expect(answers.filter(({ replayed }) => !replayed)).toHaveLength(1);
    expect(await countEntries(caseId)).toBe(2);
  },
);

test("of 50 creations sent at once with one request id one case comes to be", async () => {
  const caseworker = await cases.as("caseworker");
  const request = { requestId: randomUUID(), caseType: "permit", content };
  const answers = await Promise.all(Array.from({ length: 50 }, () => caseworker.createCase(request)));
  const bytes = answers.map((answer) =>
    Buffer.from(toBinary(CreateCaseResponseSchema, answer)).toString("hex"),
  );
  expect(new Set(bytes).size).toBe(1);
  expect(await countEntries(answers[0]!.case!.caseId)).toBe(1);
});

test("50 sent at once with a wrong expected version all fail, and nothing happens", async () => {
  const caseworker = await cases.as("caseworker");
  const caseId = await openCase(cases);
  const request = { requestId: randomUUID(), caseId, expectedVersion: 9 };
  const outcomes = await Promise.all(
    Array.from({ length: 50 }, () => refusalOf(submit(caseworker, request))),
  );
  expect(new Set(outcomes)).toEqual(new Set(["Aborted VERSION_MISMATCH"]));
  expect(await countEntries(caseId)).toBe(1);
});

test("a used request id with another message, version or method is refused, and nothing happens", async () => {
  const caseworker = await cases.as("caseworker");
  const request = { requestId: randomUUID(), caseId: await openCase(cases) };
  await submit(caseworker, request);
  const other = await openCase(cases);
  const before = await rowDigests(cases.database.superuserUrl);
  const misuses: Promise<unknown>[] = [
    caseworker.submitCase({ ...request, caseId: other }),
    caseworker.submitCase({ ...request, expectedVersion: 1 }),
    caseworker.updateCase({ ...request, content, updateMask: { paths: ["title"] } }),
    caseworker.createCase({ requestId: request.requestId, caseType: "permit", content }),
  ];
  const outcomes = await Promise.all(misuses.map(refusalOf));
  expect(outcomes).toEqual(misuses.map(() => "InvalidArgument REQUEST_ID_REUSED"));
  expect(await rowDigests(cases.database.superuserUrl)).toEqual(before);
});

test("the same request id of another principal, or of another tenant, is another request", async () => {
  const requestId = randomUUID();
  const request = { requestId, caseType: "permit", content };
  const clients = [
    await cases.as("caseworker"),
    await cases.as("colleague"),
    await cases.as("caseworker", "globex"),
  ];
  const created = await Promise.all(clients.map((client) => client.createCase(request)));
  expect(new Set(created.map((answer) => answer.case!.caseId)).size).toBe(3);
});

test("whoever has lost the role is not given the answer again", async () => {
  const request = { requestId: randomUUID(), caseId: await openCase(cases) };
  await submit(await cases.as("caseworker"), request);
  const token = await cases.issuer.token({ tenant, sub: "caseworker", roles: ["reviewer", "auditor"] });
  await using demoted = createCaseClient({ url: cases.url, token });
  expect(await refusalOf(demoted.submitCase(request))).toBe("PermissionDenied FORBIDDEN");
});

test("a request id counts the same in capital letters", async () => {
  const caseworker = await cases.as("caseworker");
  const request = { requestId: randomUUID(), caseId: await openCase(cases) };
  const first = await submit(caseworker, request);
  expect(await submit(caseworker, { ...request, requestId: request.requestId.toUpperCase() })).toEqual({
    bytes: first.bytes,
    replayed: true,
  });
});

test("an expired answer is not given again: the caller is told what the request did, and nothing happens", async () => {
  const caseworker = await cases.as("caseworker");
  const request = { requestId: randomUUID(), caseId: await openCase(cases) };
  await submit(caseworker, request);
  await using client = await openSuperuser(cases.database.superuserUrl);
  await client.query("UPDATE recorded_answers SET expires_at = now() WHERE request_id = $1", [
    request.requestId,
  ]);
  const before = await rowDigests(cases.database.superuserUrl);
  expect(await refusalOf(submit(caseworker, request))).toBe("AlreadyExists REQUEST_ALREADY_APPLIED");
  expect(await rowDigests(cases.database.superuserUrl)).toEqual(before);
});

test("a retry replays also when the first attempt commits between its two reads", async () => {
  const caseworker = await cases.as("caseworker");
  const request = { requestId: randomUUID(), caseId: await openCase(cases) };
  const first = await submit(caseworker, request);
  await using client = await openSuperuser(cases.database.superuserUrl);
  const { caseId } = request;
  // Take the first attempt back, to let it commit anew at the moment in question.
  const moves = ["audit_entries", "recorded_answers", "outbox"];
  for (const table of moves) {
    await client.query(
      `CREATE TEMP TABLE kept_${table} AS SELECT * FROM ${table} WHERE case_id = '${caseId}' AND version = 2`,
    );
  }
  await client.query(`CREATE TEMP TABLE kept_case AS SELECT * FROM cases WHERE case_id = '${caseId}'`);
  await client.query(
    `UPDATE cases SET version = 1, state = 'draft', submitter_id = NULL, submitted_version = NULL WHERE case_id = '${caseId}'`,
  );
  for (const table of moves.toReversed())
    await client.query(`DELETE FROM ${table} WHERE case_id = '${caseId}' AND version = 2`);

  // Only the read of the case looks at its content: it waits there, and the other read does not.
  await client.query("BEGIN; LOCK TABLE case_contents IN ACCESS EXCLUSIVE MODE");
  const retry = submit(caseworker, request);
  await expect
    .poll(
      async () =>
        (
          await client.query(
            "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()",
          )
        ).rowCount,
    )
    .toBe(1);
  for (const table of moves) {
    const { rows } = await client.query<{ list: string }>(
      "SELECT string_agg(attname, ', ') AS list FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND attgenerated = ''",
      [table],
    );
    const columns = rows[0]?.list;
    await client.query(`INSERT INTO ${table} (${columns}) SELECT ${columns} FROM kept_${table}`);
  }
  await client.query(
    `UPDATE cases c SET version = k.version, state = k.state, submitter_id = k.submitter_id, submitted_version = k.submitted_version FROM kept_case k WHERE c.case_id = k.case_id`,
  );
  await client.query("COMMIT");

  expect(await retry).toEqual({ bytes: first.bytes, replayed: true });
});
