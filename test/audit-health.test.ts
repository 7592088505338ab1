import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openTransport } from "#libs/client/open-transport.ts";
import { AuditService } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { Health, HealthCheckResponse_ServingStatus as Status } from "#libs/gen/grpc/health/v1/health_pb.ts";
import { openSuperuserSession, withDatabase } from "#services/local/databases.ts";
import { startAuditService, type AuditServiceFixture } from "./support/audit-service.ts";
import { makeEvent } from "./support/events.ts";
import { refusalOf } from "./support/reason-of.ts";

const timeoutMs = 15_000;
let audit: AuditServiceFixture;
beforeAll(async () => {
  audit = await startAuditService();
});
afterAll(() => audit[Symbol.asyncDispose]());

/** Takes the database away from everybody; disposing gives it back. */
async function withholdDatabase(): Promise<AsyncDisposable> {
  const { name, superuserUrl } = audit.database;
  const session = await openSuperuserSession(withDatabase(superuserUrl, "postgres"));
  await session.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
  await session.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", [name]);
  return {
    async [Symbol.asyncDispose]() {
      await session.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
      await session[Symbol.asyncDispose]();
    },
  };
}

test.each(["", AuditService.typeName])("health of %j follows the database, both ways", async (service) => {
  await using transport = openTransport("audit", {
    url: audit.url,
    token: "none",
    limits: { defaultTimeoutMs: timeoutMs },
  });
  const health = createClient(Health, transport.transport);
  const told = health.watch({ service })[Symbol.asyncIterator]();
  const next = async () => (await told.next()).value?.status;
  const until = async (status: Status) => {
    while ((await next()) !== status);
  };

  await until(Status.SERVING);
  expect((await fetch(`${audit.metricsUrl}/readyz`)).status).toBe(200);
  {
    await using _nobody = await withholdDatabase();
    await until(Status.NOT_SERVING);
    expect((await health.check({ service })).status).toBe(Status.NOT_SERVING);
    expect((await fetch(`${audit.metricsUrl}/readyz`)).status).toBe(503);
    expect((await fetch(`${audit.metricsUrl}/livez`)).status).toBe(200);
    const source = await audit.source();
    expect(await refusalOf(source.recordEvents({ events: [makeEvent().bytes] }))).toBe(
      "Unavailable DEPENDENCY_DOWN",
    );
    expect(await refusalOf((await audit.auditor()).listEvents({}))).toBe("Unavailable DEPENDENCY_DOWN");
  }
  await until(Status.SERVING);
  expect(await refusalOf((await audit.auditor()).listEvents({}))).toBe("accepted");
});
