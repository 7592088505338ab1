import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { createCaseClient } from "#libs/client/case-client.ts";
import { startOtlpReceiver, type ReceivedSpan } from "./support/otlp-receiver.ts";
import { startProcessPair } from "./support/process-pair.ts";
import { openCaseInSpan } from "./support/traced-caller.ts";
import { patientLimits } from "./support/bare-limits.ts";
import { content } from "./support/case-service.ts";

test("one trace leads from the caller through RPC and SQL over the relay to the audit service's append", async () => {
  await using receiver = await startOtlpReceiver();
  await using pair = await startProcessPair(receiver.env);
  await openCaseInSpan(pair, receiver.env);

  const append = await receiver.waitForSpan(
    (span) => span.service === "audit" && span.name === "append event",
    10_000,
  );
  const root = await receiver.waitForSpan((span) => span.name === "open a case");
  const ofTrace = (): readonly ReceivedSpan[] =>
    receiver.spans().filter(({ traceId }) => traceId === root.traceId);
  const createCase = "caseflow.cases.v1.CaseService/CreateCase";
  const client = await receiver.waitForSpan((span) => span.name === createCase && span.kind === "client");
  const server = await receiver.waitForSpan((span) => span.name === createCase && span.kind === "server");
  const save = await receiver.waitForSpan(({ name }) => name.includes("save_new_case"));
  const delivery = await receiver.waitForSpan(({ name }) => name === "deliver event");
  const waiting = await receiver.waitForSpan(({ name }) => name === "wait in outbox");
  const batch = await receiver.waitForSpan(({ name }) => name === "relay batch");

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
    (span) => span.name.endsWith("/RecordEvents") && span.kind === "server",
  );
  expect(recordEvents.traceId).toBe(batch.traceId);
  expect(append.links).toContainEqual({ traceId: recordEvents.traceId, spanId: recordEvents.spanId });
  expect(new Set(ofTrace().map(({ service }) => service))).toEqual(new Set(["caller", "case", "audit"]));
});

test("of a write that its caller does not sample nothing is recorded, neither in a service nor behind the outbox", async () => {
  await using receiver = await startOtlpReceiver();
  await using pair = await startProcessPair(receiver.env);
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
