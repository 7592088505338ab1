import { randomUUID } from "node:crypto";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { createAuditClient } from "#libs/client/audit-client.ts";
import { createCaseClient } from "#libs/client/case-client.ts";
import { AuditService } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { RetryInfoSchema } from "#libs/gen/google/rpc/error_details_pb.ts";
import { ServerReflection } from "#libs/gen/grpc/reflection/v1/reflection_pb.ts";
import { connectForTest, type TestClient } from "#libs/rpc/serve-for-test.ts";
import { defaultRates, type RateLimits } from "#libs/service/limit-settings.ts";
import { frame } from "../support/attack-http.ts";
import { startAuditService } from "../support/audit-service.ts";
import { patientLimits } from "../support/bare-limits.ts";
import { content, startCaseService, tenant } from "../support/case-service.ts";
import { countMetrics } from "../support/count-metrics.ts";
import { cloneCaseDatabase } from "../support/databases.ts";
import { makeEvent } from "../support/events.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { sendHttp2 } from "../support/raw-http.ts";
import { refusalOf } from "../support/reason-of.ts";
import { createIssuer } from "../support/tokens.ts";
import { openSuperuser } from "../support/superuser.ts";
import { openWatch } from "../support/watcher.ts";

expectNoLeaks();

/* Limits over real connections. Where nothing else is said no token comes in while a test runs. */

const refused = "ResourceExhausted RATE_LIMITED";
/** In which a token comes in. */
const tokenMs = 1_000_000;
const perSecond = 1_000 / tokenMs;
const rates = (limits: Partial<RateLimits> = {}): RateLimits => ({
  ...defaultRates,
  rateStoreTimeoutMs: 20_000, // Longer than any answer takes.
  principalPerSecond: perSecond,
  principalBurst: 3,
  tenantPerSecond: perSecond,
  tenantBurst: 100,
  ...limits,
});
const newCase = (requestId = randomUUID()) => ({ requestId, caseType: "permit", content });

test("a principal beyond its limit is told how long to wait; others of its tenant and of other tenants are served", async () => {
  await using cases = await startCaseService({ config: { relay: "off", rates: rates() } });
  const caseworker = await cases.as("caseworker");
  for (let made = 0; made < 3; made++) await caseworker.listCases({});
  const refusal = ConnectError.from(await caseworker.createCase(newCase()).catch((error: unknown) => error));
  expect(await refusalOf(Promise.reject(refusal))).toBe(refused);
  const waitMs = durationMs(refusal.findDetails(RetryInfoSchema)[0]!.retryDelay!);
  expect(waitMs).toBeGreaterThan(tokenMs / 2);
  expect(waitMs).toBeLessThanOrEqual(tokenMs);
  expect(await refusalOf((await cases.as("colleague")).createCase(newCase()))).toBe("accepted");
  expect(await refusalOf((await cases.as("caseworker", "elsewhere")).createCase(newCase()))).toBe("accepted");
});

test("the principals of a tenant share its limit, and a flood of one does not use up what is left for the others", async () => {
  const config = { relay: "off", rates: rates({ tenantBurst: 5 }) } as const;
  await using cases = await startCaseService({ config });
  const countAccepted = async (who: "caseworker" | "colleague", count: number, of = tenant) => {
    const client = await cases.as(who, of);
    const all = await Promise.all(Array.from({ length: count }, () => refusalOf(client.listCases({}))));
    return all.filter((verdict) => verdict === "accepted").length;
  };
  expect(await countAccepted("caseworker", 30)).toBe(3);
  expect(await countAccepted("colleague", 30)).toBe(2);
  expect(await countAccepted("colleague", 3, "elsewhere")).toBe(3);
});

test("a refused call stores nothing, and its request id can be used afterwards", async () => {
  await using issuer = await createIssuer();
  await using database = await cloneCaseDatabase();
  await using full = await startCaseService({ issuer, database, config: { relay: "off", rates: rates() } });
  const requestId = randomUUID();
  const caseworker = await full.as("caseworker");
  for (let made = 0; made < 3; made++) await caseworker.listCases({});
  expect(await refusalOf(caseworker.createCase(newCase(requestId)))).toBe(refused);
  await using superuser = await openSuperuser(database.superuserUrl);
  for (const table of ["cases", "audit_entries", "outbox", "recorded_answers"]) {
    expect((await superuser.query(`SELECT FROM ${table}`)).rowCount, table).toBe(0);
  }
  await using other = await startCaseService({ issuer, database, config: { relay: "off" } });
  const client = await other.as("caseworker");
  const { case: made } = await client.createCase(newCase(requestId));
  expect((await client.createCase(newCase(requestId))).case).toEqual(made);
  expect((await superuser.query("SELECT FROM cases")).rowCount).toBe(1);
});

test("a call is refused before its body is read, by both services", async () => {
  await using issuer = await createIssuer();
  const config = { rates: rates({ principalBurst: 1 }) };
  await using cases = await startCaseService({ issuer, config: { ...config, relay: "off" } });
  await using audit = await startAuditService({ issuer, config });
  const auditor = await issuer.token({ tenant, sub: "auditor", roles: ["auditor"] });
  for (const [url, service, method] of [
    [cases.url, CaseService, "ListCases"],
    [audit.url, AuditService, "ListEvents"],
  ] as const) {
    const request = {
      path: `/${service.typeName}/${method}`,
      headers: { "content-type": "application/grpc", te: "trailers", authorization: `Bearer ${auditor}` },
    };
    const first = await sendHttp2(url, { ...request, body: frame(Buffer.alloc(0)) });
    expect(first.trailers["grpc-status"]).toBe("0");
    // What it announces does not come.
    const body = frame(Buffer.alloc(0), 0, 1_000).subarray(0, 5);
    const second = await sendHttp2(url, { ...request, body, ends: false });
    expect({ ...second.headers, ...second.trailers }["grpc-status"]).toBe("8");
  }
});

test("health, reflection and probes have no limit, whoever asks", async () => {
  await using cases = await startCaseService({
    config: { relay: "off", rates: rates({ principalBurst: 1 }) },
  });
  const caseworker = await cases.as("caseworker");
  await caseworker.listCases({});
  using open = connectForTest(cases.url, "grpc");
  const authorization = `Bearer ${await cases.token("caseworker")}`;
  for (let asked = 0; asked < 20; asked++) {
    expect(await open.health.check({}, { headers: { authorization } })).toMatchObject({ status: 1 });
    const [told] = await listServices(open, authorization);
    expect(told?.messageResponse.case).toBe("listServicesResponse");
    expect((await fetch(`${cases.metricsUrl}/livez`)).status).toBe(200);
  }
  expect(await refusalOf(caseworker.listCases({}))).toBe(refused);
});

function listServices({ transport }: TestClient, authorization: string) {
  const reflection = createClient(ServerReflection, transport);
  const ask = async function* () {
    yield { messageRequest: { case: "listServices", value: "*" } } as const;
  };
  return Array.fromAsync(reflection.serverReflectionInfo(ask(), { headers: { authorization } }));
}

test("a stream is one call, however much it tells", async () => {
  await using cases = await startCaseService({
    config: { relay: "off", rates: rates({ principalBurst: 2 }) },
  });
  const watching = await cases.as("auditor");
  await using watcher = await openWatch(watching);
  const writing = await cases.as("caseworker");
  for (let made = 0; made < 2; made++) await writing.createCase(newCase());
  await watcher.until((messages) => messages.filter((message) => message.case).length >= 2);
  expect(await refusalOf(watching.listCases({}))).toBe("accepted");
  expect(await refusalOf(watching.listCases({}))).toBe(refused);
});

test("a relay's deliveries have a tenant's limit and no tenant's share", async () => {
  const limits = rates({ principalBurst: 1, tenantBurst: 4 });
  await using audit = await startAuditService({ config: { rates: limits } });
  const source = await audit.source();
  const deliver = () => refusalOf(source.recordEvents({ events: [makeEvent().bytes] }));
  const verdicts = [await deliver(), await deliver(), await deliver(), await deliver(), await deliver()];
  expect(verdicts).toEqual(["accepted", "accepted", "accepted", "accepted", refused]);
  const auditor = await audit.auditor();
  expect(await refusalOf(auditor.listEvents({}))).toBe("accepted");
});

test("a refused call has its line in the log and its count in the metrics", async () => {
  using counted = countMetrics();
  const logged: Record<string, unknown>[] = [];
  await using audit = await startAuditService({ logged, config: { rates: rates({ principalBurst: 1 }) } });
  const auditor = await audit.auditor();
  await auditor.listEvents({});
  expect(await refusalOf(auditor.listEvents({}))).toBe(refused);
  const line = {
    msg: "call",
    tenant,
    principal: "auditor",
    code: "resource_exhausted",
    reason: "RATE_LIMITED",
  };
  await expect.poll(() => logged).toContainEqual(expect.objectContaining(line));
  const count = `rpc.server.requests ${AuditService.typeName}/ListEvents resource_exhausted RATE_LIMITED`;
  expect(counted.counts.get(count)).toBe(1);
});

test("the typed client waits for as long as it is told, and gets through", async () => {
  using counted = countMetrics();
  const config = { rates: rates({ principalPerSecond: 2, principalBurst: 1, tenantPerSecond: 100 }) };
  await using audit = await startAuditService({ config });
  const token = await audit.issuer.token({ tenant, sub: "auditor", roles: ["auditor"] });
  await using auditor = createAuditClient({
    url: audit.url,
    token,
    limits: { defaultTimeoutMs: 25_000, retry: { attemptsMax: 20 } },
  });
  const calls = Array.from({ length: 4 }, () => refusalOf(auditor.listEvents({})));
  expect(await Promise.all(calls)).toEqual(["accepted", "accepted", "accepted", "accepted"]);
  const count = `rpc.server.requests ${AuditService.typeName}/ListEvents resource_exhausted RATE_LIMITED`;
  expect(counted.counts.get(count)).toBeGreaterThan(0);
});

/** As many calls at once as two replicas of one database get, each half of them. */
async function countAtReplicas(limits: RateLimits): Promise<number> {
  await using issuer = await createIssuer();
  await using database = await cloneCaseDatabase();
  const options = { issuer, database, config: { relay: "off", rates: limits } } as const;
  await using first = await startCaseService(options);
  await using second = await startCaseService(options);
  const clients = [await first.as("caseworker"), await second.as("caseworker")];
  const calls = Array.from({ length: 60 }, (_, index) => refusalOf(clients[index % 2]!.listCases({})));
  const verdicts = await Promise.all(calls);
  expect(verdicts.filter((verdict) => verdict !== "accepted" && verdict !== refused)).toEqual([]);
  return verdicts.filter((verdict) => verdict === "accepted").length;
}

test("replicas that count in PostgreSQL have one limit together", async () => {
  expect(await countAtReplicas(rates({ rateStore: "postgres", principalBurst: 10 }))).toBe(10);
});

test("replicas that count in memory have a limit each", async () => {
  expect(await countAtReplicas(rates({ rateStore: "memory", principalBurst: 10 }))).toBe(20);
});

test("calls go on, within the limits, while what counts them is stuck; and are counted there again once it is not", async () => {
  await using cases = await startCaseService({
    config: { relay: "off", rates: rates({ rateStore: "postgres", rateStoreTimeoutMs: 50 }) },
  });
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  await superuser.query("BEGIN; LOCK TABLE rate_buckets IN ACCESS EXCLUSIVE MODE");
  await using client = createCaseClient({
    url: cases.url,
    token: await cases.token("caseworker"),
    limits: patientLimits,
  });
  const verdicts = await Promise.all(
    Array.from({ length: 30 }, () => refusalOf(client.createCase(newCase()))),
  );
  expect(verdicts.toSorted()).toEqual(
    [...Array.from({ length: 27 }, () => refused), ...Array.from({ length: 3 }, () => "accepted")].toSorted(),
  );
  await superuser.query("ROLLBACK");
  const colleague = await cases.as("colleague");
  const isCountedThere = async () => {
    await refusalOf(colleague.listCases({}));
    return (await superuser.query("SELECT FROM rate_buckets WHERE principal_id = 'colleague'")).rowCount;
  };
  await expect.poll(isCountedThere).toBe(1);
});
