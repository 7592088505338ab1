import { afterAll, beforeAll, expect, test } from "vitest";
import { waitingMaxPerConnection } from "#libs/pg/check-out.ts";
import { shutdownMetrics, startMetrics } from "#libs/telemetry/metrics.ts";
import { createAuditClient } from "#libs/client/audit-client.ts";
import { createCaseClient } from "#libs/client/case-client.ts";
import { startAuditService } from "../support/audit-service.ts";
import { patientLimits } from "../support/bare-limits.ts";
import { startCaseService } from "../support/case-service.ts";
import { cloneAuditDatabase, cloneCaseDatabase } from "../support/databases.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { startPostgresProxy, type PostgresProxy } from "../support/postgres-proxy.ts";
import { refusalOf } from "../support/reason-of.ts";
import { scrape } from "../support/scrape.ts";
import { openSuperuser } from "../support/superuser.ts";
import { createIssuer, type Issuer } from "../support/tokens.ts";

/*
 * One tenant floods a service while its database stands still; what another tenant's calls get is counted, by the order in
 * which transactions reach the database and by who is turned away.
 */

const waits = { timeout: 20_000, interval: 20 };
const timeout = 60_000;
const poolMax = 1;
/** What may wait, of all tenants together. */
const waitingMax = poolMax * waitingMaxPerConnection;

interface Flooded {
  readonly metricsUrl: string;
  readonly pool: string;
  readonly proxy: PostgresProxy;
  /** Makes the tenant's reads stand still until it is disposed. */
  standStill(): Promise<AsyncDisposable>;
  /** One read, over one of the tenant's connections in turn: each takes 128 calls at a time. */
  read(tenant: string): Promise<unknown>;
  /** That `read` calls. */
  readonly method: string;
}

expectNoLeaks();

const stack = new AsyncDisposableStack();
let issuer: Issuer;
const services = new Map<string, Flooded>();

/** Makes the calls of each tenant on two clients in turn. */
function inTurn<C>(open: (tenant: string) => Promise<C>, call: (client: C) => Promise<unknown>) {
  const opened = new Map<string, { clients: readonly Promise<C>[]; count: number }>();
  return async (tenant: string): Promise<unknown> => {
    const own = opened.get(tenant) ?? { clients: [1, 2].map(() => open(tenant)), count: 0 };
    opened.set(tenant, own);
    return call(await own.clients[own.count++ % own.clients.length]!);
  };
}

async function holdTable(superuserUrl: string, table: string): Promise<AsyncDisposable> {
  const superuser = await openSuperuser(superuserUrl);
  await superuser.query(`BEGIN; LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`);
  return superuser;
}

beforeAll(async () => {
  await startMetrics({}, { name: "flood-test", version: "0.0.0-test", commit: "test" });
  stack.defer(shutdownMetrics);
  issuer = stack.use(await createIssuer());
  {
    const database = stack.use(await cloneCaseDatabase());
    const proxy = stack.use(await startPostgresProxy(database.appUrl));
    const service = stack.use(
      await startCaseService({
        issuer,
        database: { ...database, appUrl: proxy.tcpUrl },
        config: { relay: "off", poolMax },
      }),
    );
    services.set("case", {
      ...service,
      pool: "caseflow-case",
      proxy,
      standStill: () => holdTable(database.superuserUrl, "cases"),
      read: inTurn(
        async (tenant) => {
          const token = await service.token("auditor", tenant);
          return stack.use(createCaseClient({ url: service.url, token, limits: patientLimits }));
        },
        (client) => client.listCases({}),
      ),
      method: "caseflow.cases.v1.CaseService/ListCases",
    });
  }
  {
    const database = stack.use(await cloneAuditDatabase());
    const proxy = stack.use(await startPostgresProxy(database.appUrl));
    const service = stack.use(
      await startAuditService({
        issuer,
        database: { ...database, appUrl: proxy.tcpUrl },
        config: { poolMax },
      }),
    );
    services.set("audit", {
      ...service,
      pool: "caseflow-audit",
      proxy,
      standStill: () => holdTable(database.superuserUrl, "subject_heads"),
      read: inTurn(
        async (tenant) => {
          const token = await issuer.token({ tenant, sub: "auditor", roles: ["auditor"] });
          return stack.use(createAuditClient({ url: service.url, token, limits: patientLimits }));
        },
        (client) => client.listSubjectHeads({ source: "test/source" }),
      ),
      method: "caseflow.audit.v1.AuditService/ListSubjectHeads",
    });
  }
  for (const { read } of services.values()) await Promise.all([read("flood"), read("quiet")]);
});
afterAll(() => stack.disposeAsync());

const waitingIn = async ({ metricsUrl, pool }: Flooded): Promise<number> =>
  (await scrape(metricsUrl)).sum("db_pool_waiting", { pool }) ?? 0;

const times = <T>(count: number, make: () => T): T[] => Array.from({ length: count }, make);

test.each(["case", "audit"])(
  "with calls of one tenant queued up at the %s service, each call of another reaches the database behind one of them",
  { timeout },
  async (name) => {
    const service = services.get(name)!;
    const flooding = waitingMax - 15;
    const quiet = 10;
    const calls: Promise<string>[] = [];
    {
      await using _still = await service.standStill();
      calls.push(...times(poolMax + flooding, () => refusalOf(service.read("flood"))));
      await expect.poll(() => waitingIn(service), waits).toBeGreaterThanOrEqual(flooding);
      calls.push(...times(quiet, () => refusalOf(service.read("quiet"))));
      // With the health probe, which waits half of the time: else it might stand for one of them that is still to come.
      await expect.poll(() => waitingIn(service), waits).toBe(flooding + quiet + 1);
      service.proxy.reset();
    }
    expect(new Set(await Promise.all(calls))).toEqual(new Set(["accepted"]));

    const order = [...service.proxy.sent().matchAll(/app\.tenant_id = '(\w+)'/g)].map(([, tenant]) => tenant);
    expect(order.filter((tenant) => tenant === "quiet")).toHaveLength(quiet);
    expect(order.filter((tenant) => tenant === "flood")).toHaveLength(flooding);
    // Behind their turns, `poolMax` connections run beside each other.
    order.forEach((tenant, index) => {
      if (tenant !== "quiet") return;
      const before = order.slice(0, index).filter((other) => other === "quiet").length;
      expect(index).toBeLessThanOrEqual(2 * before + 1 + poolMax);
    });
  },
);

test.each(["case", "audit"])(
  "what is too much for the queue of the %s service is refused at once, of the flood alone, and the rest is answered",
  { timeout },
  async (name) => {
    const service = services.get(name)!;
    const shed = async (): Promise<number> =>
      (await scrape(service.metricsUrl)).sum("rpc_server_requests_total", {
        method: service.method,
        reason: "OVERLOADED",
      }) ?? 0;
    const shedBefore = await shed();
    const tooMany = 20;
    const quiet: Promise<string>[] = [];
    const flood: Promise<string>[] = [];
    {
      await using _still = await service.standStill();
      flood.push(...times(poolMax + waitingMax + tooMany, () => refusalOf(service.read("flood"))));
      await expect.poll(async () => (await shed()) - shedBefore, waits).toBeGreaterThanOrEqual(tooMany);
      quiet.push(...times(10, () => refusalOf(service.read("quiet"))));
      await expect
        .poll(async () => (await shed()) - shedBefore, waits)
        .toBeGreaterThanOrEqual(tooMany + quiet.length);
      expect(await waitingIn(service)).toBeLessThanOrEqual(waitingMax);
    }
    expect(new Set(await Promise.all(quiet))).toEqual(new Set(["accepted"]));
    const answers = await Promise.all(flood);
    expect(new Set(answers)).toEqual(new Set(["accepted", "Unavailable OVERLOADED"]));
    const refused = answers.filter((answer) => answer !== "accepted").length;
    // The health probe takes a place once a second, for the ten seconds at most that calls may wait.
    expect(refused).toBeGreaterThanOrEqual(tooMany + quiet.length);
    expect(refused).toBeLessThanOrEqual(tooMany + quiet.length + 10);
  },
);
