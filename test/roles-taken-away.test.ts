import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createCaseClient, type CaseClient } from "#libs/client/case-client.ts";
import {
  content,
  openCase,
  startCaseService,
  tenant,
  type CaseServiceFixture,
} from "./support/case-service.ts";
import { refusalOf } from "./support/reason-of.ts";
import { rowDigests } from "./support/row-digests.ts";

/* Roles are in the token of each call: what somebody was given while they had one is worth nothing without it. */

let cases: CaseServiceFixture;
beforeAll(async () => {
  cases = await startCaseService({ config: { relay: "off" } });
});
afterAll(() => cases[Symbol.asyncDispose]());

/** A client of somebody who has these roles now, whatever they had before. */
async function nowOnly(sub: string, roles: readonly string[]): Promise<CaseClient> {
  return createCaseClient({ url: cases.url, token: await cases.issuer.token({ tenant, sub, roles }) });
}

const write = (caseId: string) => ({ caseId, requestId: randomUUID() });
const reason = "because";

test.each<
  [string, Parameters<typeof openCase>[1], string, (client: CaseClient, caseId: string) => Promise<unknown>]
>([
  ["the assigned reviewer", "assigned", "reviewer", (client, id) => client.startReview(write(id))],
  ["whoever started the review", "under_review", "reviewer", (client, id) => client.approveCase(write(id))],
  ["the same", "under_review", "reviewer", (client, id) => client.rejectCase({ ...write(id), reason })],
  [
    "the appeal's reviewer",
    "appeal_under_review",
    "judge",
    (client, id) => client.approveAppeal({ ...write(id), reason }),
  ],
  ["the same", "appeal_under_review", "judge", (client, id) => client.rejectAppeal({ ...write(id), reason })],
  [
    "the creator of a draft",
    "draft",
    "caseworker",
    (client, id) => client.updateCase({ ...write(id), content, updateMask: { paths: ["title"] } }),
  ],
])("%s without the role can do nothing with the assignment", async (_, until, sub, call) => {
  const caseId = await openCase(cases, until);
  await using client = await nowOnly(sub, ["auditor"]);
  const before = await rowDigests(cases.database.superuserUrl);
  expect(await refusalOf(call(client, caseId))).toBe("PermissionDenied FORBIDDEN");
  expect(await rowDigests(cases.database.superuserUrl)).toEqual(before);
});

test("an answer is not replayed to whoever has lost the role that the request asks for", async () => {
  const request = write(await openCase(cases, "assigned"));
  await (await cases.as("reviewer")).startReview(request);
  await using without = await nowOnly("reviewer", ["caseworker", "supervisor", "auditor", "operator"]);
  expect(await refusalOf(without.startReview(request))).toBe("PermissionDenied FORBIDDEN");
  await using again = await nowOnly("reviewer", ["reviewer"]);
  expect(await refusalOf(again.startReview(request))).toBe("accepted");
});

test("an importer who is one no more gets neither a replay nor another import", async () => {
  const origin = { onBehalfOf: "clerk-1", occurredAt: { seconds: 1_700_000_000n } };
  const request = { requestId: randomUUID(), caseType: "permit", content, origin };
  await (await cases.as("importer")).createCase(request);
  await using without = await nowOnly("importer", ["caseworker"]);
  expect(await refusalOf(without.createCase(request))).toBe("PermissionDenied FORBIDDEN");
  await using nothing = await nowOnly("importer", []);
  expect(await refusalOf(nothing.createCase(request))).toBe("PermissionDenied FORBIDDEN");
});
