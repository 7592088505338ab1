import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { startOtlpReceiver, type ReceivedSpan } from "./support/otlp-receiver.ts";
import { processEnv } from "./support/process-env.ts";
import { startProcessPair } from "./support/process-pair.ts";

const run = promisify(execFile);

/** A consumer: calls from inside a span of its own, with the typed client. */
const caller = `
  import { randomUUID } from "node:crypto";
  import { createCaseClient } from "#libs/client/case-client.ts";
  import { shutdownTelemetry } from "#libs/telemetry/sdk.ts";
  import { withSpan } from "#libs/telemetry/trace-context.ts";
  const client = createCaseClient({ url: process.env.URL, token: process.env.TOKEN });
  await withSpan("open a case", {}, () =>
    client.createCase({ requestId: randomUUID(), caseType: "permit", content: { title: "t" } }));
  await client[Symbol.asyncDispose]();
  await shutdownTelemetry(2_000);
  process.exit();
`;

test("one trace leads from the caller through RPC and SQL over the relay to the audit service's append", async () => {
  await using receiver = await startOtlpReceiver();
  await using pair = await startProcessPair(receiver.env);
  const token = await pair.issuer.token({ tenant: "acme", sub: "caseworker", roles: ["caseworker"] });

  await run(
    process.execPath,
    ["--import", "./libs/telemetry/register.ts", "--input-type=module", "--eval", caller],
    {
      env: {
        ...processEnv,
        ...receiver.env,
        OTEL_SERVICE_NAME: "caller",
        URL: pair.cases.url,
        TOKEN: token,
      },
    },
  );

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
