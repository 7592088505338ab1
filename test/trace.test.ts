import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createCaseClient } from "#libs/client/case-client.ts";
import { startOtlpReceiver, type OtlpReceiver, type ReceivedSpan } from "./support/otlp-receiver.ts";
import { startProcessPair, type ProcessPair } from "./support/process-pair.ts";
import { openCaseInSpan } from "./support/traced-caller.ts";
import { patientLimits } from "./support/bare-limits.ts";
import { content } from "./support/case-service.ts";

const stack = new AsyncDisposableStack();
let receiver: OtlpReceiver;
let pair: ProcessPair;

beforeAll(async () => {
  receiver = stack.use(await startOtlpReceiver());
  pair = stack.use(await startProcessPair(receiver.env));
});
afterAll(() => stack.disposeAsync());

/** The first test: it counts all spans that there are. */
test("of a write that its caller does not sample nothing is recorded, neither in a service nor behind the outbox", async () => {
  const token = await pair.issuer.token({ tenant: "acme", sub: "caseworker", roles: ["caseworker"] });
  await using client = createCaseClient({ url: pair.cases.url, token, limits: patientLimits });
  const hex = () => randomUUID().replaceAll("-", "");
  const write = async (flags: "00" | "01") => {
    const traceId = hex();
    const correlationId = randomUUID();
    await client.createCase(
      { requestId: randomUUID(), caseType: "permit", content },
      {
        headers: {
          traceparent: `00-${traceId}-${hex().slice(0, 16)}-${flags}`,
          "x-correlation-id": correlationId,
        },
      },
    );
    // It has come to the audit service, alone in its batch.
    const delivered = () => pair.audit.lines.some((line) => line.includes(correlationId));
    await expect.poll(delivered, { timeout: 20_000 }).toBe(true);
    return traceId;
  };

  const unsampled = await write("00");
  const sampled = await write("01");
  await receiver.waitForSpan(({ name, traceId }) => name === "append event" && traceId === sampled, 10_000);
  await receiver.waitForSpan(({ name }) => name === "relay batch", 10_000);

  const spans = receiver.spans();
  const traces = new Set(
    spans.flatMap(({ traceId, links }) => [traceId, ...links.map((link) => link.traceId)]),
  );
  expect(traces).not.toContain(unsampled);
  const named = (suffix: string) => spans.filter(({ name }) => name.endsWith(suffix));
  expect(named("relay batch").map(({ links }) => links.map(({ traceId }) => traceId))).toEqual([[sampled]]);
  expect(named("/CreateCase")).toHaveLength(1);
  expect(new Set(named("/RecordEvents").map(({ traceId }) => traceId)).size).toBe(1);
  expect(named("append event")).toHaveLength(1);
});

test("one trace leads from the caller through RPC and SQL over the relay to the audit service's append", async () => {
  await openCaseInSpan(pair, receiver.env);

  const root = await receiver.waitForSpan((span) => span.name === "open a case", 10_000);
  const waitForSpan = (is: (span: ReceivedSpan) => boolean, timeoutMs?: number) =>
    receiver.waitForSpan((span) => span.traceId === root.traceId && is(span), timeoutMs);
  const append = await waitForSpan(
    (span) => span.service === "audit" && span.name === "append event",
    10_000,
  );
  const ofTrace = (): readonly ReceivedSpan[] =>
    receiver.spans().filter(({ traceId }) => traceId === root.traceId);
  const createCase = "caseflow.cases.v1.CaseService/CreateCase";
  const client = await waitForSpan((span) => span.name === createCase && span.kind === "client");
  const server = await waitForSpan((span) => span.name === createCase && span.kind === "server");
  const save = await waitForSpan(({ name }) => name.includes("save_new_case"));
  const delivery = await waitForSpan(({ name }) => name === "deliver event");
  const waiting = await waitForSpan(({ name }) => name === "wait in outbox");
  const batch = await receiver.waitForSpan(
    ({ name, links }) => name === "relay batch" && links.some(({ traceId }) => traceId === root.traceId),
  );

  expect(root).toMatchObject({ service: "caller", parentSpanId: undefined });
  expect(client).toMatchObject({ service: "caller", parentSpanId: root.spanId });
  expect(server).toMatchObject({ service: "case", parentSpanId: client.spanId });
  expect(save).toMatchObject({
    service: "case",
    kind: "client",
    parentSpanId: server.spanId,
    traceId: root.traceId,
  });
  expect(client.attributes).toMatchObject({
    "rpc.system.name": "grpc",
    "rpc.method": createCase,
    "rpc.status_code": "OK",
    "server.address": "127.0.0.1",
    "server.port": Number(new URL(pair.cases.url).port),
  });
  expect(save.attributes).toMatchObject({ "db.system.name": "postgresql", "db.query.summary": save.name });
  expect(waiting).toMatchObject({ service: "case", parentSpanId: server.spanId, traceId: root.traceId });
  expect(delivery).toMatchObject({ service: "case", parentSpanId: server.spanId, traceId: root.traceId });
  expect(append).toMatchObject({ service: "audit", parentSpanId: server.spanId, traceId: root.traceId });
  expect(batch.links).toContainEqual({ traceId: root.traceId, spanId: server.spanId });
  expect(delivery.links).toContainEqual({ traceId: batch.traceId, spanId: batch.spanId });
  expect(batch.traceId).not.toBe(root.traceId);
  const recordEvents = await receiver.waitForSpan(
    ({ name, kind, traceId }) =>
      name.endsWith("/RecordEvents") && kind === "server" && traceId === batch.traceId,
  );
  expect(append.links).toContainEqual({ traceId: recordEvents.traceId, spanId: recordEvents.spanId });
  expect(new Set(ofTrace().map(({ service }) => service))).toEqual(new Set(["caller", "case", "audit"]));
});
