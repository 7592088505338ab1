import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createAuditClient } from "#libs/client/audit-client.ts";
import { createCaseClient, type CaseClient } from "#libs/client/case-client.ts";
import { patientLimits } from "./support/bare-limits.ts";
import { content } from "./support/case-service.ts";
import { startOtlpReceiver, type OtlpReceiver } from "./support/otlp-receiver.ts";
import { testSource } from "./support/audit-service.ts";
import { makeEvent } from "./support/events.ts";
import { startProcessPair, type ProcessPair } from "./support/process-pair.ts";
import { openSuperuser } from "./support/superuser.ts";

/* The line that each service writes of each call, in a running pair that is traced. */

const opened = new AsyncDisposableStack();
let receiver: OtlpReceiver;
let pair: ProcessPair;
let caseworker: CaseClient;
const waits = { timeout: 20_000 };
const cases = "caseflow.cases.v1.CaseService";

interface Line extends Record<string, unknown> {
  readonly msg: string;
}

beforeAll(async () => {
  receiver = opened.use(await startOtlpReceiver());
  pair = opened.use(await startProcessPair(receiver.env));
  caseworker = await as("caseworker", "caseworker");
});
afterAll(() => opened.disposeAsync());

const tokenOf = (sub: string, role: string) => pair.issuer.token({ tenant: "acme", sub, roles: [role] });

async function as(sub: string, role: string): Promise<CaseClient> {
  const token = await tokenOf(sub, role);
  return opened.use(createCaseClient({ url: pair.cases.url, token, limits: patientLimits }));
}

const linesOf = (service: "cases" | "audit"): Line[] =>
  pair[service].lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as Line);

/** The lines of calls that have these facts, once there are so many. */
async function callLines(service: "cases" | "audit", facts: object, count = 1): Promise<Line[]> {
  const fits = (line: Line) =>
    line.msg === "call" && Object.entries(facts).every(([name, value]) => line[name] === value);
  await expect.poll(() => linesOf(service).filter(fits).length, waits).toBeGreaterThanOrEqual(count);
  return linesOf(service).filter(fits);
}

test("a call of the case service is one line with whose it was, what it was about, how it ended and which release ran", async () => {
  const requestId = randomUUID();
  const correlationId = randomUUID();
  const headers = { "x-correlation-id": correlationId };
  const request = { requestId, caseType: "permit", content };
  const { case: made } = await caseworker.createCase(request, { headers });
  await caseworker.createCase(request, { headers });
  const caseId = made?.caseId ?? "";
  const stale = { requestId: randomUUID(), caseId, expectedVersion: 7 };
  await caseworker.submitCase(stale, { headers }).catch(() => {});
  await caseworker.getCase({ caseId: caseId.toUpperCase() }, { headers });

  const [created, replayed, refused, read] = await callLines("cases", { correlationId }, 4);
  const always = {
    level: "info",
    service: "caseflow-case",
    version: expect.stringMatching(/^\d+\.\d+\.\d+/),
    commit: expect.stringMatching(/^[0-9a-f]{40}$|^unknown$/),
    time: expect.any(String),
    msg: "call",
    trace_id: expect.stringMatching(/^[0-9a-f]{32}$/),
    span_id: expect.stringMatching(/^[0-9a-f]{16}$/),
    requestId: expect.stringMatching(/^[0-9a-f-]{36}$/),
    correlationId,
    tenant: "acme",
    principal: "caseworker",
    caseId,
    durationMs: expect.any(Number),
    streaming: false,
    protocol: "grpc",
  };
  const write = { ...always, method: `${cases}/CreateCase`, writeRequestId: requestId, code: "ok" };
  expect(created).toEqual(write);
  expect(replayed).toEqual({ ...write, replayed: true });
  const replay = await receiver.waitForSpan(({ spanId }) => spanId === replayed?.["span_id"]);
  expect(replay.attributes).toMatchObject({
    "caseflow.replayed": true,
    "caseflow.case_id": caseId,
    "caseflow.correlation_id": correlationId,
    "caseflow.request_id": replayed?.["requestId"],
    "caseflow.write_request_id": requestId,
  });
  expect(refused).toMatchObject({ caseId, code: "aborted", reason: "VERSION_MISMATCH" });
  expect(read).toEqual({ ...always, method: `${cases}/GetCase`, code: "ok" });
  expect(new Set([created, replayed, refused, read].map((line) => line?.["requestId"])).size).toBe(4);
});

test("a case id that is none is not in the line, and neither is anything else that a request says", async () => {
  const correlationId = randomUUID();
  const words = `words-${randomUUID()}`;
  const options = { headers: { "x-correlation-id": correlationId } };
  await caseworker.getCase({ caseId: words }, options).catch(() => {});
  await caseworker
    .createCase({ requestId: words, caseType: "permit", content: { title: words } }, options)
    .catch(() => {});

  const lines = await callLines("cases", { correlationId, code: "invalid_argument" }, 2);

  for (const line of lines) expect(Object.keys(line)).not.toContain("caseId");
  expect(pair.cases.lines.join("\n")).not.toContain(words);
});

test("a row that PostgreSQL refuses and quotes is in no line and no span", async () => {
  const words = `words-${randomUUID()}`;
  await using superuser = await openSuperuser(pair.caseDatabase.superuserUrl);
  // Under row-level security PostgreSQL quotes no row by itself; not every table, and not every release need keep to that.
  await superuser.query(`
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        RAISE EXCEPTION 'refused' USING
          ERRCODE = '23514', TABLE = 'cases', CONSTRAINT = 'no_such', DETAIL = NEW.external_reference;
      END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON cases FOR EACH ROW WHEN (NEW.case_type = 'such')
      EXECUTE FUNCTION refuse()`);

  const correlationId = randomUUID();
  const request = { requestId: randomUUID(), caseType: "such", externalReference: words, content };
  const headers = { "x-correlation-id": correlationId };
  await expect(caseworker.createCase(request, { headers })).rejects.toThrow("internal error");

  const [call] = await callLines("cases", { correlationId, code: "internal" });
  const failure = () => linesOf("cases").find(({ msg }) => msg === "call failed unexpectedly");
  await expect.poll(failure, waits).toMatchObject({
    requestId: call?.["requestId"],
    err: { code: "23514", table: "cases", constraint: "no_such" },
  });
  const span = await receiver.waitForSpan(({ attributes }) => attributes["error.type"] === "INTERNAL");
  expect(span.attributes).toMatchObject({ "caseflow.correlation_id": correlationId });
  expect(pair.cases.lines.join("\n")).not.toContain(words);
  expect(JSON.stringify(receiver.spans())).not.toContain(words);
});

test("lines and traces of one write can be joined in both services, by correlation id and by trace id", async () => {
  const correlationId = `join/${randomUUID()}`;
  const requestId = randomUUID();
  await caseworker.createCase(
    { requestId, caseType: "permit", content },
    { headers: { "x-correlation-id": correlationId } },
  );

  const [write] = await callLines("cases", { correlationId });
  const ofBatch = () =>
    linesOf("audit").find(({ correlationIds }) =>
      (correlationIds as string[] | undefined)?.includes(correlationId),
    );
  await expect.poll(ofBatch, waits).toMatchObject({
    service: "caseflow-audit",
    method: "caseflow.audit.v1.AuditService/RecordEvents",
    tenant: "acme",
    principal: "case-relay",
    subjects: expect.arrayContaining([write?.["caseId"]]),
    code: "ok",
  });
  const batch = ofBatch();

  const token = await tokenOf("auditor", "auditor");
  await using auditor = createAuditClient({ url: pair.audit.url, token, limits: patientLimits });
  const { events } = await auditor.listEvents({ filter: { correlationId } });
  expect(events).toMatchObject([
    {
      event: {
        requestId,
        subject: write?.["caseId"],
        correlationId,
        traceparent: `00-${String(write?.["trace_id"])}-${String(write?.["span_id"])}-01`,
      },
    },
  ]);

  // From the write's line to its trace, there to the append, by its link to the batch's trace, and so to the audit service's line.
  const append = await receiver.waitForSpan(
    ({ name, traceId }) => name === "append event" && traceId === write?.["trace_id"],
  );
  expect(append.links).toEqual([{ traceId: batch?.["trace_id"], spanId: batch?.["span_id"] }]);
  const [read] = await callLines("audit", { method: "caseflow.audit.v1.AuditService/ListEvents" });
  expect(read).toMatchObject({ tenant: "acme", principal: "auditor", code: "ok" });
});

test("each id of a batch of 500 events with long ids is in a line of its call, and no line is so long that it would be cut", async () => {
  const ids = (length: number) => Array.from({ length: 500 }, () => randomUUID().padEnd(length, "\\"));
  const [subjects, correlationIds] = [ids(256), ids(128)];
  const events = subjects.map(
    (subject, index) => makeEvent({ subject, correlationId: correlationIds[index]! }).bytes, // There are as many.
  );
  const token = await pair.issuer.token({
    sub: "large-source",
    kind: "service",
    roles: ["event_source"],
    sources: [testSource],
  });
  await using source = createAuditClient({ url: pair.audit.url, token, limits: patientLimits });
  await source.recordEvents({ events });

  const [call] = await callLines("audit", { principal: "large-source" });
  const ofCall = () => linesOf("audit").filter(({ requestId }) => requestId === call?.["requestId"]);
  const told = (name: string) => ofCall().flatMap((line) => (line[name] as string[] | undefined) ?? []);
  await expect.poll(() => told("correlationIds"), waits).toEqual(correlationIds);
  expect(told("subjects")).toEqual(subjects);
  for (const { msg, trace_id: traceId } of ofCall().slice(1)) {
    expect({ msg, traceId }).toEqual({ msg: "more of a call", traceId: call?.["trace_id"] });
  }
  const lengths = pair.audit.lines.map((line) => Buffer.byteLength(line));
  expect(Math.max(...lengths)).toBeLessThan(16 * 1024);
});
