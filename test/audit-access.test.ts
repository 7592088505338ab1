import { afterAll, beforeAll, expect, test } from "vitest";
import { createAuditClient, type AuditClient } from "#libs/client/audit-client.ts";
import { startAuditService, testSource, type AuditServiceFixture } from "./support/audit-service.ts";
import { makeEvent } from "./support/events.ts";
import { refusalOf } from "./support/reason-of.ts";

let audit: AuditServiceFixture;
beforeAll(async () => {
  audit = await startAuditService();
});
afterAll(() => audit[Symbol.asyncDispose]());

const record = (client: AuditClient) => client.recordEvents({ events: [makeEvent().bytes] });
const get = (client: AuditClient) => client.getEvent({ eventId: makeEvent().eventId });
const listAccesses = (client: AuditClient) => client.listAccesses({});
const tail = (client: AuditClient) => drain(client.tailEvents({}));
const exportLog = (client: AuditClient) => drain(client.exportEvents({}));
const list = (client: AuditClient) => client.listEvents({});
const listHeads = (client: AuditClient) => client.listSubjectHeads({});
const checkpoint = (client: AuditClient) => client.getCheckpoint({});
const inclusion = (client: AuditClient) =>
  client.getInclusionProof({ target: { case: "leafIndex", value: 0n } });
const consistency = (client: AuditClient) => client.getConsistencyProof({ firstSize: 1n });

async function drain(messages: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of messages);
}

test("delivery needs the role event_source, and no tenant", async () => {
  expect(await refusalOf(record(await audit.source()))).toBe("accepted");
  const auditor = await audit.withToken({
    tenant: "acme",
    sub: "a",
    roles: ["auditor", "operator", "caseworker"],
    sources: [testSource],
  });
  expect(await refusalOf(record(auditor))).toBe("PermissionDenied FORBIDDEN");
});

test("delivery by a token without sources stores nothing", async () => {
  const { outcomes } = await record(await audit.withToken({ sub: "relay", roles: ["event_source"] }));
  expect(outcomes).toMatchObject([{ reason: "SOURCE_NOT_ALLOWED" }]);
});

test.each([
  ["GetEvent", get],
  ["ListEvents", list],
  ["ListAccesses", listAccesses],
  ["TailEvents", tail],
  ["ExportEvents", exportLog],
  ["ListSubjectHeads", listHeads],
  ["GetCheckpoint", checkpoint],
  ["GetInclusionProof", inclusion],
  ["GetConsistencyProof", consistency],
])("%s needs the role auditor and a tenant", async (_, call) => {
  expect(await refusalOf(call(await audit.source()))).toBe("PermissionDenied FORBIDDEN");
  const homeless = await audit.withToken({ sub: "a", roles: ["auditor"] });
  expect(await refusalOf(call(homeless))).toBe("PermissionDenied FORBIDDEN");
  const caseworker = await audit.withToken({ tenant: "acme", sub: "a", roles: ["caseworker"] });
  expect(await refusalOf(call(caseworker))).toBe("PermissionDenied FORBIDDEN");
});

test("ListSubjectHeads may be read by an operator, who sees no events", async () => {
  const operator = await audit.withToken({ tenant: "acme", sub: "o", roles: ["operator"] });
  expect(await refusalOf(listHeads(operator))).toBe("accepted");
  expect(await refusalOf(list(operator))).toBe("PermissionDenied FORBIDDEN");
});

test.each([
  ["RecordEvents", record],
  ["GetEvent", get],
  ["ListEvents", list],
  ["ListAccesses", listAccesses],
  ["TailEvents", tail],
  ["ExportEvents", exportLog],
  ["ListSubjectHeads", listHeads],
  ["GetCheckpoint", checkpoint],
  ["GetInclusionProof", inclusion],
  ["GetConsistencyProof", consistency],
])("%s refuses a token that has expired, and a stranger", async (_, call) => {
  const expired = await audit.withToken({
    sub: "a",
    roles: ["auditor", "event_source"],
    expiresInSeconds: -60,
  });
  expect(await refusalOf(call(expired))).toBe("Unauthenticated UNAUTHENTICATED");
  await using stranger = createAuditClient({ url: audit.url, token: "none" });
  expect(await refusalOf(call(stranger))).toBe("Unauthenticated UNAUTHENTICATED");
});
