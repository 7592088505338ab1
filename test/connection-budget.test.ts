import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { checkConnectionBudget, ConnectionBudgetError } from "#libs/service/connection-budget.ts";
import { defaultRates } from "#libs/service/limit-settings.ts";
import { createLog } from "#libs/telemetry/log.ts";
import { startAuditService } from "./support/audit-service.ts";
import { startCaseService, writeRelayToken } from "./support/case-service.ts";
import { listenerOf, startCuttingProxy, throughProxy } from "./support/cutting-proxy.ts";
import { cloneAuditDatabase, cloneCaseDatabase, type CaseDatabase } from "./support/databases.ts";
import { startPostgresProxy } from "./support/postgres-proxy.ts";
import { spawnService, startServiceProcess } from "./support/service-process.ts";
import { openSuperuser } from "./support/superuser.ts";
import { createIssuer, type Issuer } from "./support/tokens.ts";
import { verifying } from "./support/crash-victims.ts";

/* The tests' server lets 400 in, of which it reserves 3 for superusers. */

const stack = new AsyncDisposableStack();
let issuer: Issuer;
let database: CaseDatabase;
beforeAll(async () => {
  issuer = stack.use(await createIssuer());
  database = stack.use(await cloneCaseDatabase());
});
afterAll(() => stack.disposeAsync());

const silent = createLog({ service: "test", version: "test", commit: "test", level: "silent" });
const use = (what: string, url: string, count: number) => ({ what, url, count });

/** Why the connections are too many, or `undefined`. */
async function refusalOf(uses: Parameters<typeof checkConnectionBudget>[0]["uses"], replicaCount = 1) {
  try {
    await using _budget = await checkConnectionBudget({ uses, replicaCount, log: silent });
    return undefined;
  } catch (error) {
    if (!(error instanceof ConnectionBudgetError)) throw error;
    return error.message;
  }
}

test("all that a service's roles connect with counts together, times its replicas, up to the last connection", async () => {
  const { appUrl, relayUrl } = database;
  const uses = [use("the pool", appUrl, 90), use("the relay", relayUrl, 8), use("the feed", appUrl, 1)];
  expect(await refusalOf(uses, 4)).toBeUndefined();
  expect(await refusalOf([...uses, use("one more", appUrl, 1)], 4)).toBe(
    "too many connections: 4 × (the pool 90 + the feed 1 + one more 1 + the relay 8) = 400, and the server allows 397 " +
      "(max_connections 400, of which 3 are reserved); lower the pools, set CASEFLOW_REPLICAS to how many there really " +
      "are, or raise the limit",
  );
});

test("the limits of a database and of a role count too", async () => {
  await using own = await cloneCaseDatabase();
  await using superuser = await openSuperuser(own.superuserUrl);
  const role = `budget_${randomBytes(4).toString("hex")}`;
  await superuser.query(`CREATE ROLE ${role} LOGIN CONNECTION LIMIT 5`);
  await superuser.query(`GRANT CONNECT ON DATABASE ${own.name} TO ${role}`);
  try {
    const limited = own.appUrl.replace("case_app", role);
    expect(await refusalOf([use("the pool", limited, 5)])).toBeUndefined();
    expect(await refusalOf([use("the pool", limited, 3)], 2)).toContain(
      `2 × (the pool 3) = 6, and role ${role} allows 5`,
    );
    await superuser.query(`ALTER DATABASE ${own.name} CONNECTION LIMIT 8`);
    const both = [use("the pool", limited, 5), use("the relay", own.relayUrl, 4)];
    expect(await refusalOf(both)).toContain(
      `1 × (the pool 5 + the relay 4) = 9, and database ${own.name} allows 8`,
    );
  } finally {
    await superuser.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  }
});

test("through a pooler nothing is counted, since the connections are the pooler's", async () => {
  await using proxy = await startPostgresProxy(database.appUrl);
  expect(await refusalOf([use("the pool", proxy.tcpUrl, 1_000)])).toContain(
    "= 1000, and the server allows 397",
  );
  proxy.rewrite("pg_backend_pid()", "0000000000000001"); // A pooler tells its clients another process than that.
  expect(await refusalOf([use("the pool", proxy.tcpUrl, 1_000)])).toBeUndefined();
});

test("a service whose replicas would want more than there are does not start, and says the numbers and what to change", async () => {
  const env = {
    ...verifying(issuer),
    CASEFLOW_REPLICAS: "9",
    CASE_POOL_MAX: "50",
    CASE_PORT: "0",
    CASEFLOW_RATE_STORE: "postgres",
  };
  const starting = startServiceProcess("services/case/main.ts", {
    ...env,
    CASE_METRICS_PORT: "0",
    CASE_DATABASE_URL: database.appUrl,
    CASE_RELAY_DATABASE_URL: database.relayUrl,
    AUDIT_TOKEN_FILE: await writeRelayToken(issuer),
  });
  await expect(starting).rejects.toThrow(
    /ended with 1 [^]*9 × \(CASE_POOL_MAX 50 \+ the commit feed 1 \+ the shared limits 4 \+ the relay's pool 6 \+ the relay's locks 1\) = 558, and the server allows 397[^]*CASEFLOW_REPLICAS/,
  );
  const audit = await cloneAuditDatabase();
  stack.use(audit);
  await expect(
    startAuditService({
      issuer,
      database: audit,
      signing: true,
      config: { poolMax: 100, replicaCount: 4, rates: { ...defaultRates, rateStore: "postgres" } },
    }),
  ).rejects.toThrow(
    "4 × (AUDIT_POOL_MAX 100 + the shared limits 4 + the signer's pool 4) = 432, and the server allows 397",
  );
  await using fits = await startCaseService({ issuer, database, config: { poolMax: 100, replicaCount: 3 } });
  expect((await fetch(`${fits.metricsUrl}/livez`)).status).toBe(200);
});

test("a service that cannot ask its database starts, and tells once it can that the connections are too many", async () => {
  await using audit = await cloneAuditDatabase();
  await using superuser = await openSuperuser(audit.superuserUrl);
  await superuser.query(`ALTER DATABASE ${audit.name} CONNECTION LIMIT 15`);
  await using front = await startCuttingProxy(listenerOf(audit.appUrl));
  front.refusing = true;
  const logged: Record<string, unknown>[] = [];
  await using service = await startAuditService({
    issuer,
    database: { ...audit, appUrl: throughProxy(audit.appUrl, front) },
    config: { poolMax: 16 },
    logged,
  });
  expect((await fetch(`${service.metricsUrl}/readyz`)).status).toBe(503);
  const errors = () => logged.filter(({ level }) => level === "error").map(({ msg }) => String(msg));
  expect(errors()).toEqual([]);

  front.refusing = false;
  await expect.poll(async () => (await fetch(`${service.metricsUrl}/readyz`)).status).toBe(200);
  await expect
    .poll(errors)
    .toEqual([expect.stringContaining(`1 × (AUDIT_POOL_MAX 16) = 16, and database ${audit.name} allows 15`)]);
});

test("a relay alone that cannot ask its database starts, and tells once it can that the connections are too many", async () => {
  await using own = await cloneCaseDatabase();
  await using superuser = await openSuperuser(own.superuserUrl);
  await superuser.query(`ALTER DATABASE ${own.name} CONNECTION LIMIT 15`);
  await using front = await startCuttingProxy(listenerOf(own.relayUrl));
  front.refusing = true;
  await using relay = spawnService("services/case/relay/main.ts", {
    CASEFLOW_REPLICAS: "3",
    CASE_RELAY_DATABASE_URL: throughProxy(own.relayUrl, front),
    AUDIT_URL: "http://127.0.0.1:1",
    AUDIT_TOKEN_FILE: await writeRelayToken(issuer),
  });
  await relay.said("listening");
  expect(relay.lines.join("\n")).not.toContain("too many connections");

  front.refusing = false;
  const told = () => relay.lines.filter((line) => line.includes("too many connections"));
  await expect
    .poll(told, { timeout: 20_000 })
    .toEqual([
      expect.stringContaining(
        `3 × (the relay's pool 6 + the relay's locks 1) = 21, and database ${own.name} allows 15`,
      ),
    ]);
  relay.signal("SIGTERM");
  expect(await relay.ended).toBe(0);
});

test("closing waits a second for a database that does not answer, and leaves no connection", async () => {
  await using front = await startCuttingProxy(listenerOf(database.appUrl));
  front.refusing = true;
  const url = throughProxy(database.appUrl, front);
  const budget = await checkConnectionBudget({
    uses: [use("the pool", url, 1)],
    replicaCount: 1,
    log: silent,
  });
  front.refusing = false;
  const frozen = front.strike({ side: "server", has: "database_max" }, "hold");
  await using superuser = await openSuperuser(database.superuserUrl);
  const asking = async () =>
    (
      await superuser.query(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'caseflow-budget'",
      )
    ).rowCount;
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  onTestFinished(() => void vi.useRealTimers());
  budget.recheck();
  await frozen.struck;

  const closed = budget[Symbol.asyncDispose]().then(() => "closed");
  await vi.advanceTimersByTimeAsync(999);
  const soon = new Promise((resolve) => setImmediate(resolve, "waiting"));
  expect(await Promise.race([closed, soon])).toBe("waiting");
  await vi.advanceTimersByTimeAsync(1);
  expect(await closed).toBe("closed");
  vi.useRealTimers();
  await expect.poll(asking).toBe(0);
});
