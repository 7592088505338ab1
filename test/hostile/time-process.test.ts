import { randomUUID } from "node:crypto";
import { glob, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { createCaseClient, type CaseClient } from "#libs/client/case-client.ts";
import { DeliveryOutcome } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { startAuditService, testSource, type AuditServiceFixture } from "../support/audit-service.ts";
import { openCase, startCaseService, tenant, type CaseServiceFixture } from "../support/case-service.ts";
import { listenerOf, startCuttingProxy, throughProxy, type CuttingProxy } from "../support/cutting-proxy.ts";
import { cloneAuditDatabase, cloneCaseDatabase } from "../support/databases.ts";
import { makeEvent } from "../support/events.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { listAllEvents } from "../support/pair.ts";
import { refusalOf } from "../support/reason-of.ts";
import { openSuperuser } from "../support/superuser.ts";
import { createIssuer, type Issuer } from "../support/tokens.ts";
import { patientLimits } from "../support/bare-limits.ts";

/* The clock of the whole process steps an hour, as when an operator sets the machine's: everything that asks for the date sees it. */

const hourMs = 60 * 60 * 1_000;
const waits = { timeout: 10_000, interval: 20 };
/** Tokens that outlive a step of the clock. */
const expiresInSeconds = 24 * 60 * 60;

expectNoLeaks();

const stack = new AsyncDisposableStack();
let issuer: Issuer;
let audit: AuditServiceFixture;
let cases: CaseServiceFixture;
let caseworker: CaseClient;
/** In front of the databases and of the audit service. */
let databaseFront: CuttingProxy;
let auditDatabaseFront: CuttingProxy;
let auditFront: CuttingProxy;

beforeAll(async () => {
  issuer = stack.use(await createIssuer());
  const auditDatabase = stack.use(await cloneAuditDatabase());
  auditDatabaseFront = stack.use(await startCuttingProxy(listenerOf(auditDatabase.appUrl)));
  const auditUrl = throughProxy(auditDatabase.appUrl, auditDatabaseFront);
  audit = stack.use(await startAuditService({ issuer, database: { ...auditDatabase, appUrl: auditUrl } }));
  auditFront = stack.use(
    await startCuttingProxy({ host: "127.0.0.1", port: Number(new URL(audit.url).port) }),
  );
  const database = stack.use(await cloneCaseDatabase());
  databaseFront = stack.use(await startCuttingProxy(listenerOf(database.appUrl)));
  const auditTokenFile = join(tmpdir(), `long-relay-token-${randomUUID()}`);
  const relayToken = { sub: "case-relay", kind: "service", roles: ["event_source"] } as const;
  await writeFile(
    auditTokenFile,
    await issuer.token({ ...relayToken, sources: ["caseflow/case"], expiresInSeconds }),
  );
  cases = stack.use(
    await startCaseService({
      issuer,
      auditUrl: `http://127.0.0.1:${auditFront.port}`,
      database: { ...database, appUrl: throughProxy(database.appUrl, databaseFront) },
      config: { auditTokenFile, relayPollMs: 50 },
    }),
  );
  const token = await issuer.token({ tenant, sub: "caseworker", roles: ["caseworker"], expiresInSeconds });
  caseworker = stack.use(createCaseClient({ url: cases.url, token, limits: patientLimits }));
});
afterAll(() => stack.disposeAsync());

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], shouldAdvanceTime: true, now: Date.now() });
});
afterEach(() => {
  vi.useRealTimers();
});

function stepClock(byMs: number): void {
  vi.setSystemTime(Date.now() + byMs);
}

test.each([hourMs, -hourMs])(
  "a call under way has its time left when the clock steps by %i ms",
  async (stepMs) => {
    const caseId = await openCase(cases);
    const load = databaseFront.strike({ side: "client", has: "find_applied_request" }, "hold");
    const submitted = refusalOf(caseworker.submitCase({ requestId: randomUUID(), caseId }));
    await load.struck;
    stepClock(stepMs);
    load.release();
    expect(await submitted).toBe("accepted");
  },
);

test.each([hourMs, -hourMs])(
  "a call that waits for a connection has its time left when the clock steps by %i ms",
  async (stepMs) => {
    const caseId = await openCase(cases);
    databaseFront.cutAll();
    const connecting = databaseFront.strike({ side: "client", has: "application_name" }, "hold");
    const submitted = refusalOf(caseworker.submitCase({ requestId: randomUUID(), caseId }));
    await connecting.struck;
    stepClock(stepMs);
    connecting.release();
    expect(await submitted).toBe("accepted");
  },
);

test.each([hourMs, -hourMs])(
  "an append that waits for its tenant's log has its time left when the clock steps by %i ms",
  async (stepMs) => {
    const event = makeEvent();
    const lock = auditDatabaseFront.strike({ side: "client", has: event.eventId }, "hold");
    const told = { sub: "test", kind: "service", roles: ["event_source"], sources: [testSource] } as const;
    const source = await audit.withToken({ ...told, expiresInSeconds });
    const recorded = source.recordEvents({ events: [event.bytes] });
    await lock.struck;
    stepClock(stepMs);
    lock.release();
    expect((await recorded).outcomes).toMatchObject([{ outcome: DeliveryOutcome.APPLIED }]);
  },
);

test.each([hourMs, -hourMs])(
  "a relay that backs off comes back in time when the clock steps by %i ms",
  async (stepMs) => {
    const before = (await listAllEvents(audit.url, issuer)).length;
    const refused = auditFront.refused;
    auditFront.refusing = true;
    auditFront.cutAll();
    await openCase(cases, "submitted");
    // It has failed more than once, so that it rests for longer and longer.
    await expect.poll(() => auditFront.refused, waits).toBeGreaterThan(refused + 2);
    await using superuser = await openSuperuser(cases.database.superuserUrl);
    const waiting = async () => (await superuser.query("SELECT FROM outbox")).rowCount;
    expect(await waiting()).toBeGreaterThanOrEqual(2);
    stepClock(stepMs);
    auditFront.refusing = false;
    await expect.poll(waiting, waits).toBe(0);
    vi.useRealTimers();
    await expect
      .poll(async () => (await listAllEvents(audit.url, issuer)).length, waits)
      .toBeGreaterThanOrEqual(before + 2);
  },
);

test.each([hourMs, -hourMs])(
  "new signing keys are found within seconds when the clock has stepped by %i ms",
  async (stepMs) => {
    await using renewed = await createIssuer();
    const token = await renewed.token({ tenant, sub: "caseworker", roles: ["caseworker"], expiresInSeconds });
    await using client = createCaseClient({ url: cases.url, token, limits: patientLimits });
    const list = () => refusalOf(client.listCases({}));
    expect(await list()).toBe("Unauthenticated UNAUTHENTICATED");
    stepClock(stepMs);
    const known = JSON.parse(await readFile(issuer.jwks, "utf8"));
    const added = JSON.parse(await readFile(renewed.jwks, "utf8"));
    await writeFile(issuer.jwks, JSON.stringify({ keys: [...known.keys, ...added.keys] }));
    await expect.poll(list, waits).toBe("accepted");
  },
);

/** Who may ask for the date: what an event tells and a token's end are matters of the date; waits and limits are not. */
const askers = [
  "libs/rpc/verify-token.ts",
  "services/audit/application/record-events.ts",
  "services/audit/main.ts",
  "services/case/main.ts",
  "services/case/relay/main.ts",
];

test("whatever waits, rests or has a limit goes by a clock that does not step", async () => {
  const root = join(import.meta.dirname, "../..");
  const folders = ["libs/pg", "libs/rpc", "libs/service", "services/audit", "services/case"];
  const found = await Array.fromAsync(
    glob(
      folders.map((folder) => `${folder}/**/*.ts`),
      { cwd: root },
    ),
  );
  const sources = found.filter((path) => !path.endsWith(".test.ts"));
  expect(sources.length).toBeGreaterThan(100);
  const asking: string[] = [];
  for (const path of sources) {
    if (/Date\.now\b|new Date\(\)/.test(await readFile(join(root, path), "utf8"))) asking.push(path);
  }
  expect(asking.toSorted()).toEqual(askers);
});
