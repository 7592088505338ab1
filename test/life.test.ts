import { createHash, randomUUID } from "node:crypto";
import type { JsonObject } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AuditService } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { content, type PersonName } from "./support/case-service.ts";
import { bufCurl, grpcJs, type Driver } from "./support/drivers.ts";
import { startPair, type Pair } from "./support/pair.ts";
import { untilSealed } from "./support/signing.ts";
import { openSuperuser } from "./support/superuser.ts";

let pair: Pair;
beforeAll(async () => {
  // Nothing may lean on the poll: it comes too late for every deadline below.
  pair = await startPair({ relayPollMs: 60_000 });
});
afterAll(() => pair[Symbol.asyncDispose]());

const drivers: readonly [string, Driver][] = [
  ["buf curl over gRPC", bufCurl("grpc")],
  ["buf curl over gRPC-Web", bufCurl("grpcweb")],
  ["buf curl over Connect", bufCurl("connect")],
  ["@grpc/grpc-js", grpcJs],
];

/** The parts of a listed event that the test looks at, as JSON gives them. */
interface ListedEvent {
  readonly eventBytes: string;
  readonly leafIndex?: string;
  readonly digest: string;
  readonly event: {
    readonly type: string;
    readonly subjectSequence: string;
    readonly previousDigest?: string;
    readonly fromState?: string;
    readonly toState: string;
    readonly actor: { readonly id: string };
  };
}

test.each(drivers)(
  "a case goes through its whole life by %s, and the audit service tells it once and in order",
  async (_name, drive) => {
    const call = async (person: PersonName, method: string, request: JsonObject): Promise<JsonObject> =>
      drive({ url: pair.cases.url, token: await pair.cases.token(person) }, CaseService, method, request);
    const created = await call("caseworker", "CreateCase", {
      requestId: randomUUID(),
      caseType: "permit",
      content: { title: content.title ?? "" },
    });
    const { caseId } = created["case"] as { caseId: string };
    const write = (): { requestId: string; caseId: string } => ({ requestId: randomUUID(), caseId });
    const summary = { summary: "All of it.", people: [{ name: "Ada Byron", role: "applicant" }] };
    await call("caseworker", "UpdateCase", { ...write(), content: summary, updateMask: "summary,people" });
    await call("caseworker", "SubmitCase", { ...write(), expectedVersion: 2 });
    await call("supervisor", "AssignReviewer", { ...write(), reviewerId: "reviewer" });
    await call("reviewer", "StartReview", write());
    await call("reviewer", "ApproveCase", { ...write(), reason: "In order." });
    await call("supervisor", "CloseCase", write());

    const { case: closed } = await call("auditor", "GetCase", { caseId });
    expect(closed).toMatchObject({
      state: "CASE_STATE_CLOSED",
      version: 7,
      approverIds: ["reviewer"],
      content: { title: content.title, ...summary },
    });
    const listed = await call("auditor", "ListCases", { states: ["CASE_STATE_CLOSED"], pageSize: 500 });
    expect((listed["cases"] as JsonObject[]).map((found) => found["caseId"])).toContain(caseId);
    const history = await call("auditor", "GetCaseHistory", { caseId });
    expect(history["entries"]).toHaveLength(7);

    const auditor = { url: pair.audit.url, token: await pair.cases.token("auditor") };
    const listEvents = async (): Promise<ListedEvent[]> => {
      const answer = await drive(auditor, AuditService, "ListEvents", { filter: { subject: caseId } });
      return (answer["events"] ?? []) as unknown as ListedEvent[];
    };
    await expect.poll(listEvents, { timeout: 10_000 }).toHaveLength(7);
    const events = await listEvents();
    expect(
      events.map(({ event }) => [
        event.subjectSequence,
        event.type,
        event.fromState,
        event.toState,
        event.actor.id,
      ]),
    ).toEqual([
      ["1", "caseflow.case.created", undefined, "draft", "caseworker"],
      ["2", "caseflow.case.updated", "draft", "draft", "caseworker"],
      ["3", "caseflow.case.submitted", "draft", "submitted", "caseworker"],
      ["4", "caseflow.case.reviewer_assigned", "submitted", "submitted", "supervisor"],
      ["5", "caseflow.case.review_started", "submitted", "under_review", "reviewer"],
      ["6", "caseflow.case.approved", "under_review", "approved", "reviewer"],
      ["7", "caseflow.case.closed", "approved", "closed", "supervisor"],
    ]);
    events.forEach(({ eventBytes, digest, event }, index) => {
      expect(digest).toBe(sha256(eventBytes));
      expect(event.previousDigest ?? "").toBe(index === 0 ? "" : sha256(events[index - 1]!.eventBytes));
    });
    expect((history["entries"] as JsonObject[]).map((entry) => entry["eventDigest"])).toEqual(
      events.map(({ digest }) => digest),
    );
  },
);

test("what one driver wrote, all others read the same", async () => {
  const request = { filter: {}, pageSize: 500 };
  const token = await pair.cases.token("auditor");
  await untilSealed(await pair.audit.auditor());
  const answers = await Promise.all(
    drivers.map(([, drive]) => drive({ url: pair.audit.url, token }, AuditService, "ListEvents", request)),
  );
  for (const answer of answers) expect(answer).toEqual(answers[0]);
  const indexes = (answers[0]!["events"] as unknown as ListedEvent[]).map(({ leafIndex }) =>
    Number(leafIndex ?? 0),
  );
  expect(indexes).toEqual(indexes.map((_, index) => index));
});

function sha256(base64: string): string {
  return createHash("sha256").update(Buffer.from(base64, "base64")).digest("base64");
}

test("what the audit service has acknowledged is in the outbox no more, and nothing was given up", async () => {
  await using client = await openSuperuser(pair.cases.database.superuserUrl);
  const rows = async (table: string): Promise<number | null> =>
    (await client.query(`SELECT FROM ${table}`)).rowCount;
  await expect.poll(() => rows("outbox"), { timeout: 10_000 }).toBe(0);
  expect(await rows("dead_letters")).toBe(0);
});
