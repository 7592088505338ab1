import { randomUUID } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createCaseClient, type CaseClient } from "#libs/client/case-client.ts";
import { CaseState } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import type { OriginSchema } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import {
  content,
  openCase,
  startCaseService,
  tenant,
  type CaseServiceFixture,
} from "./support/case-service.ts";
import { createAttacker } from "./support/attack-call.ts";
import { makeRequest } from "./support/attack-request.ts";
import { refusalOf } from "./support/reason-of.ts";
import { rowDigests } from "./support/row-digests.ts";
import { walkMethods } from "./support/schema-walk.ts";

const nowMs = Date.UTC(2026, 0, 5, 9);
const dayMs = 24 * 60 * 60 * 1_000;
let cases: CaseServiceFixture;
let importer: CaseClient;
beforeAll(async () => {
  cases = await startCaseService({ config: { relay: "off" }, now: () => new Date(nowMs) });
  importer = await cases.as("importer");
});
afterAll(() => cases[Symbol.asyncDispose]());

/** So many days before the present, done there by `onBehalfOf`. */
function origin(daysAgo: number, onBehalfOf: string): MessageInitShape<typeof OriginSchema> {
  return { occurredAt: timestampFromDate(new Date(nowMs - daysAgo * dayMs)), onBehalfOf };
}

/** A case that was taken to its review in another system, by other people than here. */
async function importedCase(): Promise<string> {
  const created = await importer.createCase({
    ...{ requestId: randomUUID(), caseType: "permit", content },
    origin: origin(900, "clerk-1"),
  });
  const { caseId } = created.case!;
  const write = (daysAgo: number, who: string) => ({
    requestId: randomUUID(),
    caseId,
    origin: origin(daysAgo, who),
  });
  await importer.submitCase(write(899, "clerk-1"));
  await importer.assignReviewer({ ...write(898, "head"), reviewerId: "judge-1" });
  await importer.startReview(write(897, "judge-1"));
  return caseId;
}

test("an imported action keeps its time and its actor beside ours, and history tells both", async () => {
  const caseId = await importedCase();
  const auditor = await cases.as("auditor");
  const { case: found } = await auditor.getCase({ caseId });
  expect(found).toMatchObject({ creatorId: "clerk-1", submitterId: "clerk-1", reviewStartedById: "judge-1" });
  expect(timestampDate(found!.createdAt!)).toEqual(new Date(nowMs));
  const { entries } = await auditor.getCaseHistory({ caseId });
  expect(entries.map(({ actor }) => [actor?.id, actor?.roles.join(), actor?.onBehalfOf])).toEqual([
    ["importer", "importer", "clerk-1"],
    ["importer", "importer", "clerk-1"],
    ["importer", "importer", "head"],
    ["importer", "importer", "judge-1"],
  ]);
  expect(entries.map(({ occurredAt }) => (nowMs - timestampDate(occurredAt!).getTime()) / dayMs)).toEqual([
    ...[900, 899, 898, 897],
  ]);
  for (const { recordedAt } of entries) expect(timestampDate(recordedAt!)).toEqual(new Date(nowMs));
});

test("independence is judged on whom an importer acts for, and on those who call themselves, as on one person", async () => {
  const caseId = await importedCase();
  const imported = (who: string) => ({ requestId: randomUUID(), caseId, origin: origin(1, who) });
  expect(await refusalOf(importer.approveCase(imported("clerk-1")))).toBe("FailedPrecondition SELF_APPROVAL");
  const clerk = await cases.issuer.token({ tenant, sub: "clerk-1", roles: ["reviewer"] });
  await using client = createCaseClient({ url: cases.url, token: clerk });
  expect(await refusalOf(client.approveCase({ requestId: randomUUID(), caseId }))).toBe(
    "FailedPrecondition SELF_APPROVAL",
  );
  // The importer's own name is nobody's: it acts for many.
  await importer.approveCase(imported("judge-1"));
  await importer.appealCase({ ...imported("citizen"), grounds: "unfair" });
  expect(await refusalOf(importer.startAppealReview(imported("judge-1")))).toBe(
    "FailedPrecondition NOT_INDEPENDENT",
  );
  expect(await refusalOf(importer.startAppealReview(imported("judge-2")))).toBe("accepted");
});

test("whom a token acts for is the person, whichever program is in between", async () => {
  const caseId = await openCase(cases, "submitted");
  const actingFor = async (sub: string, onBehalfOf: string, roles: readonly string[]) =>
    createCaseClient({
      url: cases.url,
      token: await cases.issuer.token({ tenant, sub, kind: "service", roles, onBehalfOf }),
    });
  await using portal = await actingFor("portal", "reviewer", ["reviewer"]);
  await using desk = await actingFor("desk", "caseworker", ["reviewer", "supervisor"]);
  const write = () => ({ requestId: randomUUID(), caseId });
  await desk.assignReviewer({ ...write(), reviewerId: "reviewer" });
  expect((await portal.startReview(write())).case?.reviewStartedById).toBe("reviewer");
  expect(await refusalOf(desk.approveCase(write()))).toBe("FailedPrecondition SELF_APPROVAL");
  expect((await portal.approveCase(write())).case?.approverIds).toEqual(["reviewer"]);
});

test("the appeal window of an imported appeal is judged by when it was made", async () => {
  const caseId = await importedCase();
  const write = (daysAgo: number, who: string) => ({
    requestId: randomUUID(),
    caseId,
    origin: origin(daysAgo, who),
  });
  await importer.rejectCase({ ...write(800, "judge-1"), reason: "no" });
  const late = { ...write(769, "citizen"), grounds: "unfair" };
  expect(await refusalOf(importer.appealCase(late))).toBe("FailedPrecondition APPEAL_WINDOW_CLOSED");
  const own = { requestId: randomUUID(), caseId, grounds: "unfair" };
  const caseworker = await cases.as("caseworker");
  expect(await refusalOf(caseworker.appealCase(own))).toBe("FailedPrecondition APPEAL_WINDOW_CLOSED");
  expect(await refusalOf(importer.appealCase({ ...write(770, "citizen"), grounds: "unfair" }))).toBe(
    "accepted",
  );
});

test("an imported action does not lie ahead, nor before what its case has already", async () => {
  const caseId = await importedCase();
  const reject = (daysAgo: number) =>
    refusalOf(
      importer.rejectCase({
        requestId: randomUUID(),
        caseId,
        reason: "no",
        origin: origin(daysAgo, "judge-1"),
      }),
    );
  expect(await reject(-1)).toBe("InvalidArgument INVALID_REQUEST");
  expect(await reject(898)).toBe("InvalidArgument INVALID_REQUEST");
  expect(await reject(897)).toBe("accepted");
});

test("an origin is for importers, and whoever is an importer alone brings one", async () => {
  const caseworker = await cases.as("caseworker");
  const request = () => ({ requestId: randomUUID(), caseType: "permit", content });
  const named = { ...request(), origin: origin(1, "clerk-1") };
  expect(await refusalOf(caseworker.createCase(named))).toBe("PermissionDenied FORBIDDEN");
  expect(await refusalOf(importer.createCase(request()))).toBe("InvalidArgument INVALID_REQUEST");
  expect(await refusalOf(importer.createCase({ ...request(), origin: { onBehalfOf: "x" } }))).toBe(
    "InvalidArgument INVALID_REQUEST",
  );
  expect(
    await refusalOf(importer.createCase({ ...request(), origin: { ...named.origin, onBehalfOf: "" } })),
  ).toBe("InvalidArgument INVALID_REQUEST");
  const token = await cases.issuer.token({ tenant, sub: "both", roles: ["caseworker", "importer"] });
  await using both = createCaseClient({ url: cases.url, token });
  expect((await both.createCase(request())).case?.creatorId).toBe("both");
});

const takingOrigins = (await walkMethods()).filter(({ method }) => "origin" in method.input.field);

test("nobody who may act themselves acts as somebody else: an importer with a role beside brings no origin", async () => {
  using attacker = createAttacker();
  const ownRoles = new Set(takingOrigins.flatMap(({ roles }) => roles)).difference(new Set(["importer"]));
  expect([...ownRoles].toSorted()).toEqual(["caseworker", "reviewer", "supervisor"]);
  const before = await rowDigests(cases.database.superuserUrl);
  for (const role of ownRoles) {
    const token = await cases.issuer.token({ tenant, sub: "both", roles: ["importer", role] });
    for (const walked of takingOrigins) {
      const request = makeRequest(walked, { "origin.on_behalf_of": "judge-1" })!;
      const { outcome, error } = await attacker.call(cases.url, walked.method, request, token);
      expect(outcome, `${walked.name} by importer and ${role}`).toBe("permission_denied FORBIDDEN");
      const why = `an importer who is a ${role} too names no origin`;
      expect(error?.details[0]).toMatchObject({ said: { metadata: { why } } });
    }
  }
  expect(await rowDigests(cases.database.superuserUrl)).toEqual(before);
});

test("an importer who may only look or administrate beside brings in what others did", async () => {
  const roles = ["importer", "auditor", "operator"];
  const token = await cases.issuer.token({ tenant, sub: "archivist", roles });
  await using client = createCaseClient({ url: cases.url, token });
  const request = { requestId: randomUUID(), caseType: "permit", content, origin: origin(9, "clerk-1") };
  expect((await client.createCase(request)).case?.creatorId).toBe("clerk-1");
});

test("request ids belong to the importer, whomever it acts for; another origin is another request", async () => {
  const requestId = randomUUID();
  const request = { requestId, caseType: "permit", content, origin: origin(9, "clerk-1") };
  const first = await importer.createCase(request);
  expect(await importer.createCase(request)).toEqual(first);
  const other = { ...request, origin: origin(9, "clerk-2") };
  expect(await refusalOf(importer.createCase(other))).toBe("InvalidArgument REQUEST_ID_REUSED");
});

test("history tells everything of an override: who, from where to where, when, why, by which law and policy", async () => {
  const caseId = await openCase(cases, "approved");
  const words = {
    targetState: CaseState.REJECTED,
    reason: "the survey was wrong",
    legalAuthority: "Act 1, s. 2",
  };
  for (const person of ["supervisor", "supervisor2"] as const) {
    await (await cases.as(person)).overrideDecision({ requestId: randomUUID(), caseId, ...words });
  }
  const { entries } = await (await cases.as("auditor")).getCaseHistory({ caseId });
  expect(entries.at(-1)).toMatchObject({
    version: 7,
    eventType: "caseflow.case.overridden",
    actor: { id: "supervisor2", roles: ["supervisor"], onBehalfOf: "" },
    fromState: CaseState.APPROVED,
    toState: CaseState.REJECTED,
    reason: words.reason,
    legalAuthority: words.legalAuthority,
    policyVersion: 0,
    approvalsRequired: 1,
    reviewRound: 1,
  });
  expect(entries.at(-1)?.decisionHash).toEqual(entries.at(-3)?.decisionHash);
});
