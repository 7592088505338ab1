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
import { killStride } from "../support/crash-points.ts";
import { startMortalPostgres } from "../support/crash-postgres.ts";
import { makeEvent } from "../support/events.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { startPostgresProxy } from "../support/postgres-proxy.ts";
import { exchangeHttp2, openHttp2, type RawAnswer } from "../support/raw-http.ts";
import { scrape } from "../support/scrape.ts";
import { openSuperuser } from "../support/superuser.ts";
import { createIssuer } from "../support/tokens.ts";
import { waitUntil } from "../support/wait-until.ts";

/*
 * Both services while their PostgreSQL does not answer, or not in time. Callers here send a deadline and do not keep it: each
 * call ends by what the service answers.
 */

expectNoLeaks();

const timeout = 120_000;
const waits = { timeout: 30_000, interval: 100 };
const poolMax = 1;
const waitingMax = poolMax * waitingMaxPerConnection;
const deadlineMs = 1_500;
/** What a call may take whose caller sets no deadline. */
const ceilingMs = 10_000;
/** What a busy machine may add; a deadline with it is still well before the ceiling. */
const slackMs = 5_000;
/** Generous: what waits are a few hundred calls at most. */
const rssGrowthMax = 256 * 1024 * 1024;
/** The one in which calls without a deadline fill the queue until the service itself gives up: they hang, rather than fail. */
const hanging = "is frozen";
/** Differ from another only in how connections end. */
const campaignOnly: readonly string[] = ["is stopped at once", "is stopped without a goodbye"];
const chosen = Object.entries(brownouts).filter(
  ([what]) => killStride() === 1 || !campaignOnly.includes(what),
);

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

interface Peak {
  waiting: number;
  inUse: number;
  connections: number;
}

/** Looks at the pools again and again until it is over; the most that was seen of each, and how far the process has grown. */
async function watchPools(
  isOver: () => boolean,
): Promise<{ readonly peaks: readonly Peak[]; readonly rssGrowth: number }> {
  const rss = process.memoryUsage.rss();
  let rssGrowth = 0;
  const pools = [
    { pool: "caseflow-case", proxy: scene.proxies[0]! },
    { pool: "caseflow-audit", proxy: scene.proxies[1]! },
  ].map((each) => ({ ...each, peak: { waiting: 0, inUse: 0, connections: 0 } }));
  await waitUntil(async () => {
    const { sum } = await scrape(metricsUrls.case); // Both services are of this process.
    for (const { pool, proxy, peak } of pools) {
      peak.waiting = Math.max(peak.waiting, sum("db_pool_waiting", { pool })!); // Always told.
      peak.inUse = Math.max(peak.inUse, sum("db_pool_in_use", { pool })!);
      peak.connections = Math.max(peak.connections, proxy.openConnections(pool));
    }
    rssGrowth = Math.max(rssGrowth, process.memoryUsage.rss() - rss);
    return isOver();
  });
  return { peaks: pools.map(({ peak }) => peak), rssGrowth };
}

const times = <T>(count: number, of: () => T): T[] => Array.from({ length: count }, of);
const makeEach = (count: number): Call[] => Object.values(make).flatMap((one) => times(count, one));

test.each(chosen)(
  "while PostgreSQL %s, every call is refused in its time and readiness tells; afterwards both services go on by themselves, and what was acknowledged is there",
  { timeout },
  async (what, begin) => {
    for (const one of Object.values(make)) expect(verdict(await send(one()))).toBe("ok");
    const writes = [...times(20, make.create), ...times(20, make.record)];
    const caught = writes.map(async (call) => ({
      call,
      said: await answerWithin(call, deadlineMs, deadlineMs),
    }));
    await Promise.race(caught); // By now others are under way in the database.
    {
      await using _brownout = await begin(scene);
      const hangs = what === hanging;
      // First, lest they are shed: more than half of what may wait.
      const endless = (hangs ? makeEach(14) : []).map((call) => answerWithin(call, undefined, ceilingMs));
      const inTime = makeEach(15).map((call) => answerWithin(call, deadlineMs, deadlineMs));
      const answers = Promise.all([...inTime, ...endless]);
      let isOver = false;
      const over = answers.finally(() => (isOver = true));
      const [said, { peaks, rssGrowth }] = await Promise.all([over, watchPools(() => isOver)]);
      for (const one of said) expect(one).toMatch(refusals);
      for (const { waiting, inUse, connections } of peaks) {
        expect(waiting).toBeLessThanOrEqual(waitingMax);
        if (hangs) expect(waiting).toBeGreaterThan(waitingMax / 2);
        expect(inUse).toBeLessThanOrEqual(poolMax);
        expect(connections).toBeLessThanOrEqual(2 * poolMax); // One comes while the one that was cut still goes.
      }
      if (hangs) expect(said).toContain("Unavailable OVERLOADED");
      expect(rssGrowth).toBeLessThan(rssGrowthMax);
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
    expect(await countEffects(writes)).toEqual({ cases: 20, events: 20 });
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
