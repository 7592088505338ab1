import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createAuditClient } from "#libs/client/audit-client.ts";
import { createCaseClient } from "#libs/client/case-client.ts";
import { startAuditService, testSource, type AuditServiceFixture } from "../support/audit-service.ts";
import { bareLimits } from "../support/bare-limits.ts";
import { content, people, tenant, writeRelayToken } from "../support/case-service.ts";
import { expectAudited, expectSoundLog } from "../support/crash-audited.ts";
import { postgresProtocol } from "../support/crash-messages.ts";
import { killStride, within } from "../support/crash-points.ts";
import { startCrashProxy, type CrashProxy } from "../support/crash-proxy.ts";
import { verifying } from "../support/crash-victims.ts";
import { listenerOf, throughProxy } from "../support/cutting-proxy.ts";
import {
  cloneAuditDatabase,
  cloneCaseDatabase,
  type AuditDatabase,
  type CaseDatabase,
} from "../support/databases.ts";
import { makeEvent } from "../support/events.ts";
import { freePort } from "../support/free-port.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { startOtlpReceiver, type OtlpReceiver } from "../support/otlp-receiver.ts";
import { refusalOf } from "../support/reason-of.ts";
import { spawnService, type SpawnedService } from "../support/service-process.ts";
import {
  countMessages,
  expectCleanEnd,
  expectTold,
  lateSpans,
  shortDrain,
  signalAt,
  stopPoints,
} from "../support/stop-attack.ts";
import { openTail } from "../support/tailer.ts";
import { createIssuer, type Issuer } from "../support/tokens.ts";
import { openWatch } from "../support/watcher.ts";

/*
 * SIGTERM at any moment: at a line of the log, or at a message between a service and its database, in either direction. The
 * process ends with 0; calls that it had taken are answered, and told in log and traces.
 */

expectNoLeaks();

const stack = new AsyncDisposableStack();
let issuer: Issuer;
let receiver: OtlpReceiver;
let relayTokenFile: string;
let auditDatabase: AuditDatabase;
/** Where what the case services leave is delivered to in the end. */
let audit: AuditServiceFixture;
let caseDatabase: CaseDatabase;
let toCase: CrashProxy;
let toRelay: CrashProxy;
let toAudit: CrashProxy;

beforeAll(async () => {
  issuer = stack.use(await createIssuer());
  receiver = stack.use(await startOtlpReceiver());
  relayTokenFile = await writeRelayToken(issuer);
  auditDatabase = stack.use(await cloneAuditDatabase());
  audit = stack.use(await startAuditService({ issuer }));
  caseDatabase = stack.use(await cloneCaseDatabase());
  toCase = stack.use(await startCrashProxy(postgresProtocol, listenerOf(caseDatabase.appUrl)));
  toRelay = stack.use(await startCrashProxy(postgresProtocol, listenerOf(caseDatabase.relayUrl)));
  toAudit = stack.use(await startCrashProxy(postgresProtocol, listenerOf(auditDatabase.appUrl)));
});
afterAll(() => stack.disposeAsync());

const isCampaign = killStride() === 1;
const timeout = isCampaign ? 3_600_000 : 240_000;
/** On which everything is prepared by a first call, so that a second has the same messages each time. */
const oneConnection = { CASE_POOL_MAX: "1", AUDIT_POOL_MAX: "1" };
/** Whose streams are open: what they read is not counted. */
const otherTenant = "elsewhere";
type Env = Readonly<Record<string, string>>;

function spawnCase(env: Env = {}): SpawnedService {
  return spawnService("services/case/main.ts", {
    ...verifying(issuer),
    ...receiver.env,
    ...lateSpans,
    OTEL_SERVICE_NAME: "case",
    CASE_PORT: "0",
    CASE_METRICS_PORT: "0",
    CASE_DATABASE_URL: throughProxy(caseDatabase.appUrl, toCase),
    CASE_RELAY_DATABASE_URL: throughProxy(caseDatabase.relayUrl, toCase),
    AUDIT_URL: audit.url,
    AUDIT_TOKEN_FILE: relayTokenFile,
    ...env,
  });
}

function spawnAudit(env: Env = {}): SpawnedService {
  return spawnService("services/audit/main.ts", {
    ...verifying(issuer),
    ...receiver.env,
    ...lateSpans,
    OTEL_SERVICE_NAME: "audit",
    AUDIT_PORT: "0",
    AUDIT_METRICS_PORT: "0",
    AUDIT_DATABASE_URL: throughProxy(auditDatabase.appUrl, toAudit),
    ...env,
  });
}

const spawnRelay = (env: Env = {}): SpawnedService =>
  spawnService("services/case/relay/main.ts", {
    CASE_RELAY_DATABASE_URL: throughProxy(caseDatabase.relayUrl, toRelay),
    AUDIT_URL: audit.url,
    AUDIT_TOKEN_FILE: relayTokenFile,
    ...env,
  });

const services = { case: spawnCase, audit: spawnAudit, relay: spawnRelay };

/** A trace of its own for a call, and the header that begins it. */
function newTrace() {
  const traceId = randomBytes(16).toString("hex");
  return { traceId, headers: { traceparent: `00-${traceId}-${randomBytes(8).toString("hex")}-01` } };
}

async function connectToCase({ said }: SpawnedService, of = tenant) {
  const token = await issuer.token({ tenant: of, sub: "caseworker", roles: people.caseworker });
  return createCaseClient({ url: String((await said("listening"))["url"]), token, limits: bareLimits });
}

async function connectToAudit({ said }: SpawnedService, roles: readonly string[]) {
  const source = { sources: [testSource], kind: "service" } as const;
  const who = roles.includes("auditor") ? { tenant: otherTenant } : source;
  const token = await issuer.token({ sub: "somebody", roles, ...who });
  return createAuditClient({ url: String((await said("listening"))["url"]), token, limits: bareLimits });
}

/** The transactions of a tenant's calls. */
const ofTenant = ({ opening }: { readonly opening: string }): boolean =>
  opening.includes(`app.tenant_id = '${tenant}'`);

/** A write, with what it reads before, once its statements are prepared. */
async function countWrite(): Promise<number> {
  await using service = spawnCase(oneConnection);
  await using client = await connectToCase(service);
  const write = () => client.createCase({ caseType: "permit", content });
  await write();
  return await countMessages(toCase, ofTenant, write);
}

/** As `countWrite`. */
async function countAppend(): Promise<number> {
  await using service = spawnAudit(oneConnection);
  await using source = await connectToAudit(service, ["event_source"]);
  const append = () => source.recordEvents({ events: [makeEvent().bytes] });
  await append();
  return await countMessages(toAudit, ofTenant, append);
}

/** In an ordinary run each line and each service once. */
const lines = [
  ["case", "starting"],
  ["audit", "serving"],
  ["relay", "listening"],
  ...(isCampaign
    ? ([
        ["case", "listening"],
        ["case", "serving"],
        ["audit", "starting"],
        ["relay", "starting"],
      ] as const)
    : []),
] as const;

test.each(lines)("SIGTERM when the %s says %j ends it with 0", { timeout }, async (name, line) => {
  await using service = services[name]();
  await service.said(line);
  service.signal("SIGTERM");
  await expectCleanEnd(service, `at "${line}"`);
});

// The start goes on at once, or with a database that says nothing more.
test.each([
  ["case", "signalled"],
  ["case", "stopping"],
  ["audit", "signalled"],
  ["audit", "stopping"],
] as const)(
  "SIGTERM at any message of its start ends the %s service with 0, with messages held until it is %s",
  { timeout },
  async (name, until) => {
    for (const point of stopPoints(30, 1, isCampaign)) {
      await using service = services[name]();
      const strike = signalAt(name === "case" ? toCase : toAudit, point, service, { until });
      const when = `${point.when} message ${point.n} of the start`;
      await expectCleanEnd(service, when);
      expect(strike.struckAt, when).toBeDefined();
      await strike.over;
    }
  },
);

test(
  "SIGTERM at any message of a write lets it be answered, ends the watch, and leaves its span and its log line",
  { timeout },
  async () => {
    const newCase = { caseType: "permit", content };
    for (const point of stopPoints(await countWrite(), 2, isCampaign)) {
      await using service = spawnCase(oneConnection);
      await using client = await connectToCase(service);
      await using watcher = await connectToCase(service, otherTenant);
      await service.said("serving");
      const watch = await openWatch(watcher);
      const first = newTrace();
      await client.createCase(newCase, first);

      const strike = signalAt(toCase, point, service, { counts: ofTenant, until: "draining" });
      const last = newTrace();
      const told = await refusalOf(client.createCase(newCase, last));
      const when = `${point.when} message ${point.n}, ${strike.struckAt}`;
      expect(strike.struckAt, when).toBeDefined();
      await expectCleanEnd(service, when);
      await watch.ended;
      expect(told, when).toBe("accepted");
      expectTold(service, receiver, [first.traceId, last.traceId], when);
    }
  },
);

test(
  "SIGTERM at any message of an append lets it be answered, ends the tail, and leaves its span and its log line",
  { timeout },
  async () => {
    for (const point of stopPoints(await countAppend(), 1, isCampaign)) {
      await using service = spawnAudit(oneConnection);
      await using source = await connectToAudit(service, ["event_source"]);
      await using auditor = await connectToAudit(service, ["auditor"]);
      await service.said("serving");
      const tail = await openTail(auditor);
      await source.recordEvents({ events: [makeEvent().bytes] });

      const strike = signalAt(toAudit, point, service, { counts: ofTenant, until: "draining" });
      const last = newTrace();
      const told = await refusalOf(source.recordEvents({ events: [makeEvent().bytes] }, last));
      const when = `${point.when} message ${point.n}, ${strike.struckAt}`;
      expect(strike.struckAt, when).toBeDefined();
      await expectCleanEnd(service, when);
      await tail.ended;
      expect(told, when).toBe("accepted");
      expectTold(service, receiver, [last.traceId], when);
    }
    await expectSoundLog(auditDatabase);
  },
);

test(
  "SIGTERM at any message of a delivery ends the relay with 0, and each event arrives once",
  { timeout },
  async () => {
    for (const point of stopPoints(60, 1, isCampaign)) {
      await using service = spawnCase({ RELAY: "off" });
      await using client = await connectToCase(service);
      for (let made = 0; made < 5; made++) await client.createCase({ caseType: "permit", content });
      await using relay = spawnRelay();
      const strike = signalAt(toRelay, point, relay);
      await expectCleanEnd(relay, `${point.when} message ${point.n} of the relay, ${strike.struckAt}`);
      await strike.over;
      service.signal("SIGTERM");
      await expectCleanEnd(service, "afterwards");
    }
  },
);

test(
  "SIGTERM while PostgreSQL is frozen ends a service with 0, whatever it was doing",
  { timeout },
  async () => {
    for (const point of stopPoints(30, 1, isCampaign)) {
      await using service = spawnCase(shortDrain);
      await using client = await connectToCase(service);
      await service.said("serving");
      const strike = signalAt(toCase, point, service, { counts: ofTenant, until: "ended" });
      const call = refusalOf(client.createCase({ caseType: "permit", content }, { timeoutMs: 60_000 }));
      const when = `${point.when} message ${point.n}`;
      await expectCleanEnd(service, when);
      expect(strike.struckAt, when).toBeDefined();
      await strike.over;
      expect(await call, when).toMatch(/^(Unavailable|DeadlineExceeded|accepted)/);
    }
  },
);

test(
  "SIGTERM while the audit service never answers, its delivery under way, ends the case service with 0",
  { timeout },
  async () => {
    await using silent = await startSilentServer();
    await using service = spawnCase({ ...shortDrain, AUDIT_URL: silent.url });
    await using client = await connectToCase(service);
    await client.createCase({ caseType: "permit", content });
    await within(20_000, "a delivery", silent.called);
    const { metricsUrl, url } = await service.said("listening");
    const statusOf = (page: string) =>
      fetch(page, { headers: { connection: "close" } }).then(
        ({ status }) => status,
        () => "nobody",
      );
    const pages = [
      String(url),
      ...["livez", "readyz", "startupz"].map((name) => `${String(metricsUrl)}/${name}`),
    ];
    service.signal("SIGTERM");
    // The relay has three seconds for its batch, in which nobody is served any more and probes are still answered.
    await expect
      .poll(() => Promise.all(pages.map(statusOf)), { timeout: 20_000, interval: 20 })
      .toEqual(["nobody", 200, 503, 200]);
    await expectCleanEnd(service, "with a delivery under way");
  },
);

test.each(["case", "audit"] as const)(
  "SIGTERM ends the %s service with 0 where neither database nor audit service was ever there",
  { timeout },
  async (name) => {
    const nowhere = `postgresql://nobody@127.0.0.1:${await freePort()}/none`;
    await using service = services[name]({
      CASE_DATABASE_URL: nowhere,
      CASE_RELAY_DATABASE_URL: nowhere,
      AUDIT_DATABASE_URL: nowhere,
      AUDIT_URL: `http://127.0.0.1:${await freePort()}`,
    });
    await service.said("not serving: the database does not answer");
    service.signal("SIGTERM");
    await expectCleanEnd(service, "with nobody there");
  },
);

test("what these services left is delivered once and in order", { timeout }, async () => {
  await expectAudited({ database: caseDatabase, audit, issuer });
});

/** Takes connections, and says nothing. */
async function startSilentServer() {
  const called = Promise.withResolvers<void>();
  const server = createServer((socket) => {
    socket.on("error", () => {}).on("data", () => called.resolve());
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("it listens on TCP");
  return {
    url: `http://127.0.0.1:${address.port}`,
    called: called.promise,
    [Symbol.asyncDispose]: async () => void server.close(),
  };
}
