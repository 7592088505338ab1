import { createHash, randomUUID } from "node:crypto";
import { toBinary } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import type { CaseClient } from "#libs/client/case-client.ts";
import type { AuditedEvent } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { SubmitCaseResponseSchema } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { startAuditService } from "../support/audit-service.ts";
import { content, openCase, startCaseService, type CaseServiceFixture } from "../support/case-service.ts";
import { startCuttingProxy } from "../support/cutting-proxy.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { listAllEvents } from "../support/pair.ts";
import { createIssuer } from "../support/tokens.ts";

/* The wall clock that the case service goes by steps an hour, forwards and backwards, where it may hurt most. */

const hourMs = 60 * 60 * 1_000;
const waits = { timeout: 10_000, interval: 20 };

expectNoLeaks();

/** A clock that stands still until it is stepped. */
function createClock() {
  let ms = Date.UTC(2026, 0, 5, 9);
  return {
    now: () => new Date(ms),
    step: (byMs: number) => void (ms += byMs),
  };
}

/** Takes a new case from draft to closed; `before` is called before each of the six steps. */
async function walkCase(cases: CaseServiceFixture, before: (step: number) => void): Promise<string> {
  const caseworker = await cases.as("caseworker");
  const reviewer = await cases.as("reviewer");
  const supervisor = await cases.as("supervisor");
  const ids = () => ({ requestId: randomUUID(), caseId });
  let caseId = "";
  const steps: readonly (() => Promise<{ case?: { caseId: string } | undefined }>)[] = [
    () => caseworker.createCase({ requestId: randomUUID(), caseType: "permit", content }),
    () => caseworker.submitCase(ids()),
    () => supervisor.assignReviewer({ ...ids(), reviewerId: "reviewer" }),
    () => reviewer.startReview(ids()),
    () => reviewer.approveCase(ids()),
    () => supervisor.closeCase(ids()),
  ];
  for (const [index, step] of steps.entries()) {
    before(index);
    const answer = await step();
    caseId = answer.case!.caseId;
  }
  return caseId;
}

/** Fails unless the events of each subject are all there, in order, with later ids and an unbroken chain. */
function expectWhole(events: readonly AuditedEvent[], perCase: number): void {
  expect(events.map(({ leafIndex }) => leafIndex)).toEqual(events.map((_, index) => BigInt(index)));
  for (const [, ofCase] of Map.groupBy(events, ({ event }) => event!.subject)) {
    expect(ofCase.map(({ event }) => event!.subjectSequence)).toEqual(
      Array.from({ length: perCase }, (_, index) => BigInt(index + 1)),
    );
    const ids = ofCase.map(({ event }) => event!.eventId);
    expect(ids).toEqual(ids.toSorted());
    const digests = ofCase.map(({ eventBytes }) => createHash("sha256").update(eventBytes).digest("hex"));
    const named = ofCase.map(({ event }) => Buffer.from(event!.previousDigest).toString("hex"));
    expect(named).toEqual(["", ...digests.slice(0, -1)]);
  }
}

test.each([
  ["forwards", [0, hourMs, hourMs, hourMs, hourMs, hourMs]],
  ["backwards", [0, -hourMs, -hourMs, -hourMs, -hourMs, -hourMs]],
  ["to and fro", [0, hourMs, -hourMs, -hourMs, hourMs, -hourMs]],
])(
  "with the clock stepping %s before each transition a case's events keep their order and tell the time",
  async (_, steps) => {
    const clock = createClock();
    await using issuer = await createIssuer();
    await using audit = await startAuditService({ issuer });
    await using cases = await startCaseService({ issuer, auditUrl: audit.url, now: clock.now });
    const times: Date[] = [];

    const caseId = await walkCase(cases, (step) => {
      clock.step(steps[step]!);
      times.push(clock.now());
    });

    await expect.poll(() => listAllEvents(audit.url, issuer), waits).toHaveLength(6);
    const events = await listAllEvents(audit.url, issuer);
    expectWhole(events, 6);
    expect(events.map(({ event }) => timestampDate(event!.occurredAt!))).toEqual(times);
    const { entries } = await (await cases.as("auditor")).getCaseHistory({ caseId });
    expect(entries.map(({ eventId }) => eventId)).toEqual(events.map(({ event }) => event!.eventId));
  },
);

test.each([hourMs, -hourMs])(
  "a duplicate after the clock stepped by %i ms gets the first answer",
  async (stepMs) => {
    const clock = createClock();
    await using cases = await startCaseService({ config: { relay: "off" }, now: clock.now });
    const caseworker = await cases.as("caseworker");
    const request = { requestId: randomUUID(), caseId: await openCase(cases) };
    const first = await submit(caseworker, request);
    clock.step(stepMs);
    expect(await submit(caseworker, request)).toEqual({ ...first, replayed: true });
  },
);

test("a backlog written while the clock stepped to and fro is delivered whole and in order", async () => {
  const clock = createClock();
  await using issuer = await createIssuer();
  await using audit = await startAuditService({ issuer });
  await using front = await startCuttingProxy({ host: "127.0.0.1", port: Number(new URL(audit.url).port) });
  front.refusing = true;
  await using cases = await startCaseService({
    issuer,
    auditUrl: `http://127.0.0.1:${front.port}`,
    config: { relayPollMs: 50 },
    now: clock.now,
  });
  let writes = 0;
  const walks = Array.from({ length: 10 }, () =>
    walkCase(cases, () => clock.step(writes++ % 2 === 0 ? hourMs : -hourMs)),
  );
  await Promise.all(walks);

  front.refusing = false;
  await expect.poll(async () => (await listAllEvents(audit.url, issuer)).length, waits).toBe(60);
  expectWhole(await listAllEvents(audit.url, issuer), 6);
});

test("events with earlier ids than those the relay is just delivering are not passed over", async () => {
  const clock = createClock();
  await using issuer = await createIssuer();
  await using audit = await startAuditService({ issuer });
  await using front = await startCuttingProxy({ host: "127.0.0.1", port: Number(new URL(audit.url).port) });
  const batch = front.strike({ side: "client", has: "caseflow.case.created" }, "hold");
  await using cases = await startCaseService({
    issuer,
    auditUrl: `http://127.0.0.1:${front.port}`,
    config: { relayPollMs: 60_000 },
    now: clock.now,
  });
  await openCase(cases, "submitted");
  await batch.struck;
  clock.step(-hourMs); // What is written now stands before the relay's place in the outbox.
  await openCase(cases, "submitted");
  batch.release();
  await expect.poll(() => listAllEvents(audit.url, issuer), waits).toHaveLength(4);
  expectWhole(await listAllEvents(audit.url, issuer), 2);
});

interface Submitted {
  readonly bytes: string;
  readonly replayed: boolean;
}

async function submit(
  client: CaseClient,
  request: { requestId: string; caseId: string },
): Promise<Submitted> {
  let replayed = false;
  const response = await client.submitCase(request, {
    onHeader: (headers) => (replayed = headers.get("caseflow-replayed") === "true"),
  });
  return { bytes: Buffer.from(toBinary(SubmitCaseResponseSchema, response)).toString("hex"), replayed };
}
