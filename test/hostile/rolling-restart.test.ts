import { afterAll, beforeAll, expect, test } from "vitest";
import { createCaseClient } from "#libs/client/case-client.ts";
import { startCaseLoad } from "../support/case-load.ts";
import { people, tenant, writeRelayToken } from "../support/case-service.ts";
import { expectDrained, expectSameStory } from "../support/crash-audited.ts";
import { killStride } from "../support/crash-points.ts";
import { verifying } from "../support/crash-victims.ts";
import {
  cloneAuditDatabase,
  cloneCaseDatabase,
  type AuditDatabase,
  type CaseDatabase,
} from "../support/databases.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { startReplica, type Replica } from "../support/replica.ts";
import { scrape } from "../support/scrape.ts";
import { openSuperuser } from "../support/superuser.ts";
import { createIssuer, type Issuer } from "../support/tokens.ts";

/*
 * Both services, two replicas each, are restarted one after the other while callers write and read through the typed client, which
 * knows both addresses, as the relays know both of the audit service.
 */

expectNoLeaks();

const stack = new AsyncDisposableStack();
let issuer: Issuer;
let caseDatabase: CaseDatabase;
let auditDatabase: AuditDatabase;
let audits: readonly Replica[];
let cases: readonly Replica[];

beforeAll(async () => {
  issuer = stack.use(await createIssuer());
  caseDatabase = stack.use(await cloneCaseDatabase());
  auditDatabase = stack.use(await cloneAuditDatabase());
  audits = [stack.use(await startAudit()), stack.use(await startAudit())];
  cases = [stack.use(await startCases()), stack.use(await startCases())];
});
afterAll(() => stack.disposeAsync());

const isCampaign = killStride() === 1;
const workers = isCampaign ? 4 : 2;
const rounds = isCampaign ? 10 : 1;
/** The default's attempts, and time enough for them where the machine has little to spare. */
const patient = {
  defaultTimeoutMs: 30_000,
  breaker: { slowMs: 30_000 },
  connection: { healthIntervalMs: 500 },
};
const waits = { timeout: 60_000, interval: 100 };
const hourSeconds = 3_600;
/** Enough for a machine with little to spare. */
const timeout = isCampaign ? 1_200_000 : 240_000;

const startAudit = (): Promise<Replica> =>
  startReplica("audit", { ...verifying(issuer), AUDIT_DATABASE_URL: auditDatabase.appUrl });

async function startCases(): Promise<Replica> {
  return startReplica("case", {
    ...verifying(issuer),
    CASE_DATABASE_URL: caseDatabase.appUrl,
    CASE_RELAY_DATABASE_URL: caseDatabase.relayUrl,
    AUDIT_URL: audits.map(({ url }) => url).join(","),
    AUDIT_TOKEN_FILE: await writeRelayToken(issuer),
  });
}

const caseworkerToken = (): Promise<string> =>
  issuer.token({
    tenant,
    sub: "caseworker",
    roles: people.caseworker,
    expiresInSeconds: hourSeconds,
  });

test(
  "restarting each of two replicas in turn under load fails no call, loses no acknowledged write and doubles no event",
  { timeout },
  async () => {
    await using client = createCaseClient({
      url: cases.map(({ url }) => url),
      token: await caseworkerToken(),
      limits: patient,
    });
    const load = startCaseLoad(client, workers);

    const turns = [
      ...cases.map((replica) => [replica, "caseflow.cases.v1.CaseService/UpdateCase"] as const),
      ...audits.map((replica) => [replica, "caseflow.audit.v1.AuditService/RecordEvents"] as const),
    ];
    for (let round = 0; round < rounds; round++) {
      for (const [replica, method] of turns) {
        expect(await replica.stop()).toBe(0);
        await replica.start();
        // Before the other one stops.
        await expect.poll(() => countCalls(replica, method), waits).toBeGreaterThan(0);
      }
    }

    const { failures, versions } = await load.stop();
    expect(failures).toEqual({});
    await expectDrained(caseDatabase);
    await expectSameStory(caseDatabase, auditDatabase);
    await expectEachOnce(versions);
  },
);

test(
  "with one address, callers who have attempts enough wait for a restart, and none fails",
  { timeout },
  async () => {
    const only = cases[0]!;
    await using client = createCaseClient({
      url: only.url,
      token: await caseworkerToken(),
      limits: {
        defaultTimeoutMs: 60_000,
        retry: { attemptsMax: 1_000, baseMs: 50, capMs: 500 },
        retryBudget: "off",
        breaker: "off",
      },
    });
    const load = startCaseLoad(client, workers);
    await expect.poll(load.answered, waits).toBeGreaterThan(workers);
    expect(await only.stop()).toBe(0);
    await only.start();
    await expect
      .poll(() => countCalls(only, "caseflow.cases.v1.CaseService/UpdateCase"), waits)
      .toBeGreaterThan(workers);
    const { failures } = await load.stop();
    expect(failures).toEqual({});
  },
);

/** Calls of a method that a replica has answered since it was started. */
async function countCalls({ metricsUrl }: Replica, method: string): Promise<number> {
  return (await scrape(metricsUrl)).sum("rpc_server_requests_total", { method }) ?? 0;
}

/** Every acknowledged transition is an entry, and there is no other: none was lost, none was made twice. */
async function expectEachOnce(versions: ReadonlyMap<string, number>): Promise<void> {
  await using superuser = await openSuperuser(caseDatabase.superuserUrl);
  const { rows } = await superuser.query<{ case_id: string; version: number; entries: number }>(
    `SELECT c.case_id, c.version::int AS version, count(*)::int AS entries
       FROM cases c JOIN audit_entries e USING (tenant_id, case_id) GROUP BY c.case_id, c.version`,
  );
  const found = new Map(rows.map(({ case_id: caseId, version, entries }) => [caseId, { version, entries }]));
  expect(found).toEqual(new Map([...versions].map(([id, version]) => [id, { version, entries: version }])));
}
