import { randomUUID } from "node:crypto";
import { ConnectError } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ErrorInfoSchema } from "#libs/gen/google/rpc/error_details_pb.ts";
import { content, openCase, startCaseService, type CaseServiceFixture } from "../support/case-service.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { refusalOf } from "../support/reason-of.ts";
import { rowDigests } from "../support/row-digests.ts";

/* A recorded answer is given again for seven days by the service's clock. After that its request id still has no second effect. */

const hourMs = 60 * 60 * 1_000;
const keptMs = 7 * 24 * hourMs;
const alreadyApplied = "AlreadyExists REQUEST_ALREADY_APPLIED";

expectNoLeaks();

/** Two replicas on one database; the second one's clock is an hour ahead. */
let punctual: CaseServiceFixture;
let ahead: CaseServiceFixture;
let nowMs = Date.UTC(2026, 0, 5, 9);
const stack = new AsyncDisposableStack();
beforeAll(async () => {
  const config = { relay: "off" } as const;
  punctual = stack.use(await startCaseService({ config, now: () => new Date(nowMs) }));
  const { issuer, database } = punctual;
  ahead = stack.use(
    await startCaseService({ config, issuer, database, now: () => new Date(nowMs + hourMs) }),
  );
});
afterAll(() => stack.disposeAsync());

/** Submits a new case; returns the request. */
async function submitNew(): Promise<{ readonly requestId: string; readonly caseId: string }> {
  const request = { requestId: randomUUID(), caseId: await openCase(punctual) };
  const caseworker = await punctual.as("caseworker");
  await caseworker.submitCase(request);
  return request;
}

test("an answer is given again up to seven days after, and not any more then", async () => {
  const caseworker = await punctual.as("caseworker");
  const request = await submitNew();
  const before = await rowDigests(punctual.database.superuserUrl);
  nowMs += keptMs - 1;
  expect(await refusalOf(caseworker.submitCase(request))).toBe("accepted");
  nowMs += 1;
  const refusal = await caseworker.submitCase(request).catch((error: unknown) => error);
  expect(ConnectError.from(refusal).findDetails(ErrorInfoSchema)).toMatchObject([
    { reason: "REQUEST_ALREADY_APPLIED", metadata: { case_id: request.caseId, version: "2" } },
  ]);
  nowMs -= 1;
  expect(await refusalOf(caseworker.submitCase(request)), "the clock steps back").toBe("accepted");
  expect(await rowDigests(punctual.database.superuserUrl)).toEqual(before);
});

test("after that a duplicate has no effect, whatever its message, version or method", async () => {
  const caseworker = await punctual.as("caseworker");
  const request = await submitNew();
  const draft = await openCase(punctual);
  nowMs += keptMs;
  const before = await rowDigests(punctual.database.superuserUrl);
  const { requestId } = request;
  const duplicates = [
    caseworker.submitCase(request),
    caseworker.submitCase({ ...request, expectedVersion: 1 }),
    caseworker.submitCase({ ...request, expectedVersion: 2 }),
    caseworker.submitCase({ requestId, caseId: draft }),
    caseworker.submitCase({ requestId, caseId: randomUUID() }),
    caseworker.updateCase({ requestId, caseId: draft, content, updateMask: { paths: ["title"] } }),
    caseworker.createCase({ requestId, caseType: "permit", content }),
    ...Array.from({ length: 20 }, () => caseworker.submitCase({ requestId, caseId: draft })),
  ];
  expect(await Promise.all(duplicates.map(refusalOf))).toEqual(duplicates.map(() => alreadyApplied));
  expect(await rowDigests(punctual.database.superuserUrl)).toEqual(before);
});

test("a creation has no second effect either, and others' requests with that id go on", async () => {
  const caseworker = await punctual.as("caseworker");
  const request = { requestId: randomUUID(), caseType: "permit", content };
  await caseworker.createCase(request);
  nowMs += keptMs;
  const before = await rowDigests(punctual.database.superuserUrl);
  expect(await refusalOf(caseworker.createCase(request))).toBe(alreadyApplied);
  expect(await rowDigests(punctual.database.superuserUrl)).toEqual(before);
  const colleague = await punctual.as("colleague");
  expect(await refusalOf(colleague.createCase(request))).toBe("accepted");
});

test("while one replica holds an answer for expired and the other does not, no duplicate has an effect", async () => {
  const request = await submitNew();
  const clients = [await punctual.as("caseworker"), await ahead.as("caseworker")];
  nowMs += keptMs - hourMs / 2;
  const before = await rowDigests(punctual.database.superuserUrl);
  const outcomes = await Promise.all(
    Array.from({ length: 50 }, (_, index) => refusalOf(clients[index % 2]!.submitCase(request))),
  );
  expect(outcomes).toEqual(outcomes.map((_, index) => (index % 2 === 0 ? "accepted" : alreadyApplied)));
  expect(await rowDigests(punctual.database.superuserUrl)).toEqual(before);
});

test("two replicas with clocks an hour apart move one case in turn, each event's id after the one before", async () => {
  const write = (caseId: string) => ({ requestId: randomUUID(), caseId });
  const caseId = await openCase(ahead);
  await (await punctual.as("caseworker")).submitCase(write(caseId));
  const assign = { ...write(caseId), reviewerId: "reviewer" };
  const supervisors = [await ahead.as("supervisor"), await punctual.as("supervisor")];
  const assigned = await Promise.all(supervisors.map((supervisor) => supervisor.assignReviewer(assign)));
  expect(assigned[0]).toEqual(assigned[1]);
  await (await punctual.as("reviewer")).startReview(write(caseId));
  await (await ahead.as("reviewer")).approveCase(write(caseId));
  await (await punctual.as("supervisor")).closeCase(write(caseId));

  const { entries } = await (await punctual.as("auditor")).getCaseHistory({ caseId });
  expect(entries.map(({ version }) => version)).toEqual([1, 2, 3, 4, 5, 6]);
  const ids = entries.map(({ eventId }) => eventId);
  expect(ids).toEqual(ids.toSorted());
});
