import { randomBytes } from "node:crypto";
import { expect, onTestFinished, test, vi } from "vitest";
import { createAuditClient } from "#libs/client/audit-client.ts";
import { shutdownTelemetry, startTelemetry } from "#libs/telemetry/sdk.ts";
import { auditTenant, startAuditService, testSource } from "#test/support/audit-service.ts";
import { bareLimits } from "#test/support/bare-limits.ts";
import { startCuttingProxy } from "#test/support/cutting-proxy.ts";
import { makeEvent } from "#test/support/events.ts";
import { startOtlpReceiver } from "#test/support/otlp-receiver.ts";
import { DeliveryError } from "../relay/deliver.ts";
import { createRecordEvents } from "./audit-recorder.ts";

test("attempts that fail leave nothing in an event's trace; the one that delivers it ends its one wait in the outbox", async () => {
  await using opened = new AsyncDisposableStack();
  const receiver = opened.use(await startOtlpReceiver());
  for (const [name, value] of Object.entries(receiver.env)) vi.stubEnv(name, value);
  await startTelemetry(receiver.env);
  onTestFinished(() => shutdownTelemetry(1_000));
  const audit = opened.use(await startAuditService());
  const { hostname: host, port } = new URL(audit.url);
  const front = opened.use(await startCuttingProxy({ host, port: Number(port) }));
  const { issuer } = audit;
  const client = opened.use(
    createAuditClient({
      url: `http://127.0.0.1:${front.port}`,
      token: await issuer.token({
        sub: "relay",
        kind: "service",
        roles: ["event_source"],
        sources: [testSource],
      }),
      limits: bareLimits,
    }),
  );
  let nowMs = Date.now();
  const recordEvents = createRecordEvents(client, () => new Date((nowMs += 1_000)));
  const traceId = randomBytes(16).toString("hex");
  const traceparent = `00-${traceId}-${randomBytes(8).toString("hex")}-01`;
  const { eventId, subject, bytes } = makeEvent({ traceparent });
  const pending = { tenantId: auditTenant, eventId, caseId: subject, version: 1, traceparent, event: bytes };

  front.refusing = true;
  for (let attempts = 0; attempts < 2; attempts++) {
    await expect(recordEvents([pending])).rejects.toThrow(DeliveryError);
  }
  front.refusing = false;
  const deliveredFromMs = nowMs + 1_000;
  expect(await recordEvents([pending])).toEqual([{ kind: "applied" }]);
  expect(await recordEvents([pending])).toEqual([{ kind: "duplicate" }]);

  const batches = () => receiver.spans().filter(({ name }) => name === "relay batch");
  await expect.poll(() => batches().map(({ failed }) => failed)).toEqual([true, true, false, false]);
  const ofEvent = receiver.spans().filter((span) => span.traceId === traceId && span.name !== "append event");
  expect(ofEvent).toMatchObject([
    { name: "wait in outbox", endedAtMs: deliveredFromMs },
    {
      name: "deliver event",
      startedAtMs: deliveredFromMs,
      attributes: { "caseflow.delivery.outcome": "applied" },
    },
    { name: "deliver event", attributes: { "caseflow.delivery.outcome": "duplicate" } },
  ]);
  for (const { links } of batches()) expect(links.map((link) => link.traceId)).toEqual([traceId]);
});
