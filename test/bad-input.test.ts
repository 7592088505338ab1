import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CaseClient } from "#libs/client/case-client.ts";
import { CaseState } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import { content, openCase, startCaseService, type CaseServiceFixture } from "./support/case-service.ts";
import { refusalOf } from "./support/reason-of.ts";
import { rowDigests } from "./support/row-digests.ts";

let cases: CaseServiceFixture;
beforeAll(async () => {
  cases = await startCaseService({ config: { relay: "off" } });
});
afterAll(() => cases[Symbol.asyncDispose]());

const create = (change: object) => (client: CaseClient) =>
  client.createCase({ requestId: randomUUID(), caseType: "permit", content: { ...content, ...change } });

test.each<[string, (client: CaseClient) => Promise<unknown>]>([
  ["a NUL in a title", create({ title: "a\0b" })],
  ["a line end in a title", create({ title: "a\nb" })],
  ["a NUL in a summary", create({ summary: "\0" })],
  ["a blank name", create({ people: [{ name: "  ", role: "applicant" }] })],
  [
    "a NUL in a reference",
    (client) =>
      client.createCase({ requestId: randomUUID(), caseType: "permit", content, externalReference: "a\0" }),
  ],
  ["a NUL in a filter by creator", (client) => client.listCases({ creatorId: "a\0b" })],
  ["a NUL in a filter by reviewer", (client) => client.listCases({ assignedReviewerId: "a\0b" })],
  ["a NUL in a filter by type", (client) => client.listCases({ caseType: "a\0b" })],
  ["a NUL in a filter by reference", (client) => client.listCases({ externalReference: "a\0b" })],
  [
    "a time beyond what a database can hold",
    (client) => client.listCases({ changedSince: { seconds: 8_640_000_000_001n } }),
  ],
  [
    "a time before all times",
    (client) => client.listCases({ changedSince: { seconds: -8_640_000_000_000n } }),
  ],
  ["a page of more than 500", (client) => client.listCases({ pageSize: 501 })],
])("%s is refused as the caller's mistake, and nothing is stored", async (_name, call) => {
  const client = await cases.as("caseworker");
  const before = await rowDigests(cases.database.superuserUrl);
  expect(await refusalOf(call(client))).toBe("InvalidArgument INVALID_REQUEST");
  expect(await rowDigests(cases.database.superuserUrl)).toEqual(before);
});

test("text that people write is taken: line ends in prose, any script, at its greatest length", async () => {
  const client = await cases.as("caseworker");
  const full = {
    title: "ß".repeat(200),
    summary: "語\n".repeat(4_000),
    people: [{ name: "José María Ñ", role: "agent" }],
  };
  const { case: created } = await client.createCase({
    requestId: randomUUID(),
    caseType: "permit",
    content: full,
  });
  expect(created?.content).toMatchObject(full);
});

test("pages of large cases stay below what a gRPC client takes, and lose none", async () => {
  const client = await cases.as("caseworker", "large");
  const people = Array.from({ length: 50 }, (_, index) => ({
    name: `${index}`.padEnd(200, "語"),
    role: "applicant",
    contact: "語".repeat(500),
  }));
  const made = [];
  for (let count = 0; count < 40; count++)
    made.push(
      await client.createCase({
        requestId: randomUUID(),
        caseType: "permit",
        content: { title: "t", people },
      }),
    );
  const found: string[] = [];
  let pages = 0;
  for (let pageToken = "", more = true; more; more = pageToken !== "") {
    const page = await client.listCases({ pageSize: 500, pageToken });
    found.push(...page.cases.map(({ caseId }) => caseId));
    pageToken = page.nextPageToken;
    pages += 1;
    expect(page.cases.length).toBeLessThan(40);
  }
  expect(pages).toBeGreaterThan(1);
  expect(found).toEqual(
    made
      .map((answer) => answer.case!.caseId)
      .toSorted()
      .toReversed(),
  );
});

test("pages of one follow each other through the whole list, for every filter", async () => {
  const client = await cases.as("caseworker", "paged");
  const ids = await Promise.all([1, 2, 3].map(() => openCase(cases, "submitted", "paged")));
  const filter = {
    states: [CaseState.SUBMITTED],
    caseType: "permit",
    creatorId: "caseworker",
    changedSince: { seconds: 0n },
  };
  const found: string[] = [];
  for (let pageToken = "", more = true; more; more = pageToken !== "") {
    const page = await client.listCases({ ...filter, pageSize: 1, pageToken });
    expect(page.cases).toHaveLength(1);
    found.push(page.cases[0]!.caseId);
    pageToken = page.nextPageToken;
  }
  expect(found).toEqual(ids.toSorted().toReversed());
});

test("a page token of another filter, of another tenant, or made up, is refused", async () => {
  await Promise.all([1, 2].map(() => openCase(cases, "draft", "tokens")));
  const client = await cases.as("caseworker", "tokens");
  const { nextPageToken } = await client.listCases({ pageSize: 1 });
  const stranger = await cases.as("caseworker", "strangers");
  const misuses = [
    client.listCases({ pageSize: 1, pageToken: nextPageToken, caseType: "permit" }),
    stranger.listCases({ pageSize: 1, pageToken: nextPageToken }),
    client.listCases({ pageSize: 1, pageToken: `${nextPageToken}x` }),
    client.listCases({ pageSize: 1, pageToken: "\0" }),
  ];
  expect(await Promise.all(misuses.map(refusalOf))).toEqual(
    misuses.map(() => "InvalidArgument PAGE_TOKEN_INVALID"),
  );
});

test("a retry that writes the case id in capital letters is the same request", async () => {
  const client = await cases.as("caseworker");
  const request = { requestId: randomUUID(), caseId: await openCase(cases) };
  const first = await client.submitCase(request);
  expect(await client.submitCase({ ...request, caseId: request.caseId.toUpperCase() })).toEqual(first);
});

test("a call without time left fails here, and is not sent as one without end", async () => {
  const client = await cases.as("caseworker");
  expect(await refusalOf(client.listCases({}, { timeoutMs: 0 }))).toMatch(/^DeadlineExceeded/);
});
