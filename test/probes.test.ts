import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openTransport } from "#libs/client/open-transport.ts";
import { CaseAdminService } from "#libs/gen/caseflow/cases/v1/case_admin_service_pb.ts";
import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { Health, HealthCheckResponse_ServingStatus as Status } from "#libs/gen/grpc/health/v1/health_pb.ts";
import { bareLimits } from "./support/bare-limits.ts";
import { people, startCaseService, tenant } from "./support/case-service.ts";
import { postgresProtocol } from "./support/crash-messages.ts";
import { startCrashProxy, type CrashProxy } from "./support/crash-proxy.ts";
import { verifying } from "./support/crash-victims.ts";
import { listenerOf, throughProxy } from "./support/cutting-proxy.ts";
import { cloneCaseDatabase, type CaseDatabase } from "./support/databases.ts";
import { spawnService } from "./support/service-process.ts";
import { createIssuer, type Issuer } from "./support/tokens.ts";
import { createCaseClient } from "#libs/client/case-client.ts";
import { openWatch } from "./support/watcher.ts";

const stack = new AsyncDisposableStack();
let issuer: Issuer;
let database: CaseDatabase;
let proxy: CrashProxy;
beforeAll(async () => {
  issuer = stack.use(await createIssuer());
  database = stack.use(await cloneCaseDatabase());
  proxy = stack.use(await startCrashProxy(postgresProtocol, listenerOf(database.appUrl)));
});
afterAll(() => stack.disposeAsync());

const names = ["", CaseService.typeName, CaseAdminService.typeName];
const page = async (metricsUrl: string, name: string): Promise<number> =>
  (await fetch(`${metricsUrl}/${name}`)).status;

function openHealth(url: string) {
  const { transport, [Symbol.asyncDispose]: close } = openTransport("case", {
    url,
    token: "none",
    limits: { ...bareLimits, defaultTimeoutMs: 60_000 },
  });
  return { ...createClient(Health, transport), [Symbol.asyncDispose]: close };
}

/**
 * What every door says, each `true` for serving; `undefined` when readiness changed meanwhile. Asked between two looks at
 * `/readyz`, so that doors that disagree cannot be taken for a change.
 */
async function everyDoor(metricsUrl: string, health: ReturnType<typeof openHealth>) {
  const before = await page(metricsUrl, "readyz");
  const checks = await Promise.all(names.map((service) => health.check({ service })));
  const { statuses } = await health.list({});
  const after = await page(metricsUrl, "readyz");
  if (before !== after) return undefined;
  const listed = names.map((name) => statuses[name]?.status);
  const told = [...checks.map(({ status }) => status), ...listed].map((status) => status === Status.SERVING);
  return { ready: after === 200, told };
}

/** Looks again and again until the service is ready, or not; each time all doors agree, and the process lives. */
async function untilReady(isReady: boolean, metricsUrl: string, health: ReturnType<typeof openHealth>) {
  for (;;) {
    const doors = await everyDoor(metricsUrl, health);
    expect(await page(metricsUrl, "livez")).toBe(200);
    expect(await page(metricsUrl, "startupz")).toBe(200);
    if (!doors) continue;
    expect(new Set(doors.told)).toEqual(new Set([doors.ready]));
    if (doors.ready === isReady) return;
  }
}

test("while the database is frozen it lives and has started, every door says that it is not ready, and then that it is", async () => {
  const appUrl = throughProxy(database.appUrl, proxy);
  await using cases = await startCaseService({
    issuer,
    database: { ...database, appUrl },
    config: { relay: "off" },
  });
  await using health = openHealth(cases.url);
  const watched = names.map((service) => health.watch({ service })[Symbol.asyncIterator]());
  const next = () => Promise.all(watched.map(async (told) => (await told.next()).value?.status));
  await untilReady(true, cases.metricsUrl, health);
  while ((await next())[0] !== Status.SERVING);

  const thaw = Promise.withResolvers<void>();
  const frozen = proxy.arm({ n: 1, when: "before", counts: () => true, act: () => thaw.promise });
  await untilReady(false, cases.metricsUrl, health);
  expect(await next()).toEqual(names.map(() => Status.NOT_SERVING));
  thaw.resolve();
  await frozen.over;
  await untilReady(true, cases.metricsUrl, health);
  expect(await next()).toEqual(names.map(() => Status.SERVING));
});

test("from the first moment of stopping every door says not ready, while calls are taken, answered, and probes too", async () => {
  await using cases = spawnService("services/case/main.ts", {
    ...verifying(issuer),
    CASE_PORT: "0",
    CASE_METRICS_PORT: "0",
    CASE_DATABASE_URL: throughProxy(database.appUrl, proxy),
    RELAY: "off",
    CASEFLOW_ANNOUNCE_MS: "60000",
  });
  const facts = await cases.said("listening");
  const [url, metricsUrl] = [String(facts["url"]), String(facts["metricsUrl"])];
  await cases.said("serving");
  const token = await issuer.token({ tenant, sub: "caseworker", roles: people.caseworker });
  await using client = createCaseClient({ url, token, limits: bareLimits });
  await using health = openHealth(url);
  const told = health.watch({ service: CaseService.typeName })[Symbol.asyncIterator]();
  expect((await told.next()).value?.status).toBe(Status.SERVING);
  const watch = await openWatch(client);

  cases.signal("SIGTERM");
  await cases.said("stopping");
  expect(await everyDoor(metricsUrl, health)).toEqual({
    ready: false,
    told: [...names, ...names].map(() => false),
  });
  expect((await told.next()).value?.status).toBe(Status.NOT_SERVING);
  expect(await page(metricsUrl, "livez")).toBe(200);
  const created = await client.createCase({ caseType: "permit", content: { title: "t" } });
  await watch.until((messages) => messages.some((message) => message.case?.caseId === created.case?.caseId));
  expect(await page(metricsUrl, "metrics")).toBe(200);
  cases.signal("SIGTERM"); // It would go on for a minute.
  expect(await cases.ended).toBe(143);
});

test("a service has started before its database was ever there, and is not ready", async () => {
  const appUrl = "postgresql://nobody@127.0.0.1:1/none";
  await using cases = await startCaseService({
    issuer,
    database: { ...database, appUrl },
    config: { relay: "off" },
  });
  const pages = ["livez", "startupz", "readyz"].map((name) => page(cases.metricsUrl, name));
  expect(await Promise.all(pages)).toEqual([200, 200, 503]);
});
