import { randomUUID } from "node:crypto";
import type { ClientHttp2Session } from "node:http2";
import { afterAll, beforeAll, expect, test } from "vitest";
import { waitingMaxPerConnection } from "#libs/pg/check-out.ts";
import { answerGraceMs } from "#libs/pg/tenant-transaction.ts";
import { shutdownMetrics, startMetrics } from "#libs/telemetry/metrics.ts";
import { verdictOf, wires } from "../support/attack-http.ts";
import { auditTenant, startAuditService, testSource } from "../support/audit-service.ts";
import { brownouts, type BrownoutScene } from "../support/brownouts.ts";
import { content, startCaseService } from "../support/case-service.ts";
import { startMortalPostgres } from "../support/crash-postgres.ts";
import { makeEvent } from "../support/events.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { startPostgresProxy } from "../support/postgres-proxy.ts";
import { exchangeHttp2, openHttp2, type RawAnswer } from "../support/raw-http.ts";
import { scrape } from "../support/scrape.ts";
import { openSuperuser } from "../support/superuser.ts";
import { createIssuer } from "../support/tokens.ts";

/*
 * Both services while their PostgreSQL does not answer, or not in time. Callers here send a deadline and do not keep it: each
 * call ends by what the service answers.
 */

expectNoLeaks();

const timeout = 120_000;
const waits = { timeout: 30_000, interval: 100 };
const poolMax = 4;
const deadlineMs = 1_500;
/** What a call may take whose caller sets no deadline. */
const ceilingMs = 10_000;
/** What a busy machine may add; without an answer it takes a minute until the test gives up. */
const slackMs = 8_000;

const refusals =
  /^(Unavailable (OVERLOADED|DEPENDENCY_DOWN|OUTCOME_UNKNOWN)|DeadlineExceeded \(no reason\))$/;

interface Call {
  readonly service: "case" | "audit";
  readonly path: string;
  readonly body: unknown;
  readonly token: string;
}

const stack = new AsyncDisposableStack();
let scene: BrownoutScene;
let sessions: Readonly<Record<Call["service"], ClientHttp2Session>>;
let metricsUrls: Readonly<Record<Call["service"], string>>;
let make: Readonly<Record<"create" | "list" | "record" | "read", () => Call>>;

beforeAll(async () => {
  await startMetrics({}, { name: "brownout-test", version: "0.0.0-test", commit: "test" });
  stack.defer(shutdownMetrics);
  const issuer = stack.use(await createIssuer());
  const postgres = stack.use(await startMortalPostgres({ maxConnections: 40 }));
  const { cases, audit } = postgres;
  const [toCases, toAudit] = [await startPostgresProxy(cases.appUrl), await startPostgresProxy(audit.appUrl)];
  stack.use(toCases);
  stack.use(toAudit);
  scene = { postgres, proxies: [toCases, toAudit] };
  const caseService = stack.use(
    await startCaseService({
      issuer,
      database: { ...cases, appUrl: toCases.tcpUrl },
      config: { relay: "off", poolMax },
    }),
  );
  const auditService = stack.use(
    await startAuditService({ issuer, database: { ...audit, appUrl: toAudit.tcpUrl }, config: { poolMax } }),
  );
  metricsUrls = { case: caseService.metricsUrl, audit: auditService.metricsUrl };
  sessions = {
    case: stack.use(openHttp2(caseService.url)).http2,
    audit: stack.use(openHttp2(auditService.url)).http2,
  };
  const source = await issuer.token({
    sub: "test-relay",
    kind: "service",
    roles: ["event_source"],
    sources: [testSource],
  });
  const auditor = await issuer.token({ tenant: auditTenant, sub: "auditor", roles: ["auditor"] });
  const caseworker = await caseService.token("caseworker");
  const caseMethod = "/caseflow.cases.v1.CaseService";
  const auditMethod = "/caseflow.audit.v1.AuditService";
  make = {
    create: () => ({
      service: "case",
      path: `${caseMethod}/CreateCase`,
      body: { requestId: randomUUID(), caseType: "permit", content },
      token: caseworker,
    }),
    list: () => ({ service: "case", path: `${caseMethod}/ListCases`, body: {}, token: caseworker }),
    record: () => ({
      service: "audit",
      path: `${auditMethod}/RecordEvents`,
      body: { events: [Buffer.from(makeEvent().bytes).toString("base64")] },
      token: source,
    }),
    read: () => ({ service: "audit", path: `${auditMethod}/ListEvents`, body: {}, token: auditor }),
  };
});
afterAll(() => stack.disposeAsync());

/** Makes a call whose caller waits for as long as it takes. */
async function send(call: Call, timeoutMs?: number): Promise<RawAnswer> {
  return exchangeHttp2(sessions[call.service], {
    path: call.path,
    headers: {
      "content-type": "application/json",
      authorization: `Bearer ${call.token}`,
      ...(timeoutMs !== undefined && { "connect-timeout-ms": String(timeoutMs) }),
    },
    body: Buffer.from(JSON.stringify(call.body)),
  });
}

const verdict = (answer: RawAnswer): string => verdictOf(wires["Connect JSON"], answer);

/** Makes a call, and holds that it ends within `limitMs`, of its deadline or of the service's own. */
async function answerWithin(call: Call, timeoutMs: number | undefined, limitMs: number): Promise<string> {
  const startedAt = performance.now();
  const said = verdict(await send(call, timeoutMs));
  expect(performance.now() - startedAt, `${call.path}: ${said}`).toBeLessThan(
    limitMs + answerGraceMs + slackMs,
  );
  return said;
}

async function healthOf(service: Call["service"]): Promise<readonly unknown[]> {
  const ready = await fetch(`${metricsUrls[service]}/readyz`, { headers: { connection: "close" } });
  const live = await fetch(`${metricsUrls[service]}/livez`, { headers: { connection: "close" } });
  const answer = await send({ service, path: "/grpc.health.v1.Health/Check", body: {}, token: "" });
  const { status } = JSON.parse(answer.body.toString()) as { status: string };
  return [ready.status, live.status, status];
}

const times = <T>(count: number, of: () => T): T[] => Array.from({ length: count }, of);

test.each(Object.entries(brownouts))(
  "while PostgreSQL %s, every call is refused in its time and readiness tells; afterwards both services go on by themselves, and what was acknowledged is there",
  { timeout },
  async (_what, begin) => {
    for (const one of Object.values(make)) expect(verdict(await send(one()))).toBe("ok");
    const writes = [...times(40, make.create), ...times(20, make.record)];
    const caught = writes.map(async (call) => ({
      call,
      said: await answerWithin(call, undefined, ceilingMs),
    }));
    await Promise.race(caught); // By now others are under way in the database.
    {
      await using _brownout = await begin(scene);
      const all = Object.values(make).flatMap((one) => times(30, one));
      const inTime = all.map((call) => answerWithin(call, deadlineMs, deadlineMs));
      const endless = Object.values(make).map((one) => answerWithin(one(), undefined, ceilingMs));
      for (const [service, pool, proxy] of [
        ["case", "caseflow-case", scene.proxies[0]],
        ["audit", "caseflow-audit", scene.proxies[1]],
      ] as const) {
        const { sum } = await scrape(metricsUrls[service]);
        expect(sum("db_pool_in_use", { pool })).toBeLessThanOrEqual(poolMax);
        expect(sum("db_pool_waiting", { pool })).toBeLessThanOrEqual(poolMax * waitingMaxPerConnection);
        expect(proxy?.openConnections(pool)).toBeLessThanOrEqual(poolMax);
      }
      for (const said of await Promise.all([...inTime, ...endless])) expect(said).toMatch(refusals);
      await Promise.all(caught);
      for (const service of ["case", "audit"] as const)
        await expect.poll(() => healthOf(service), waits).toEqual([503, 200, "NOT_SERVING"]);
    }
    for (const service of ["case", "audit"] as const)
      await expect.poll(() => healthOf(service), waits).toEqual([200, 200, "SERVING"]);

    for (const { call, said } of await Promise.all(caught)) {
      if (said !== "ok") expect(said).toMatch(refusals);
      const again = await send(call);
      expect(verdict(again)).toBe("ok");
      if (said !== "ok") continue;
      if (call.service === "case") expect(again.headers["caseflow-replayed"]).toBe("true");
      else expect(again.body.toString()).toContain("DUPLICATE");
    }
    expect(await countEffects(writes)).toEqual({ cases: 40, events: 20 });
  },
);

/** How many audit entries and events the writes have made. */
async function countEffects(
  writes: readonly Call[],
): Promise<{ cases: number | null; events: number | null }> {
  const { cases, audit } = scene.postgres;
  await using ofCases = await openSuperuser(cases.superuserUrl);
  await using ofAudit = await openSuperuser(audit.superuserUrl);
  const bodies = writes.map(({ body }) => body as { requestId?: string; events?: string[] });
  const ids = bodies.flatMap(({ requestId }) => requestId ?? []);
  const bytes = bodies.flatMap(({ events }) => events ?? []).map((text) => Buffer.from(text, "base64"));
  return {
    cases: (await ofCases.query("SELECT FROM audit_entries WHERE request_id = ANY($1)", [ids])).rowCount,
    events: (await ofAudit.query("SELECT FROM events WHERE bytes = ANY($1)", [bytes])).rowCount,
  };
}
