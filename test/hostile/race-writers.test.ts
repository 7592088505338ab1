import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { keptLog } from "../support/kept-output.ts";
import { openRelay } from "#services/case/rpc/open-relay.ts";
import { startAuditService, type AuditServiceFixture } from "../support/audit-service.ts";
import {
  content,
  openCase,
  startCaseService,
  writeRelayToken,
  type CaseServiceFixture,
} from "../support/case-service.ts";
import { holdCommit } from "../support/cutting-commit.ts";
import { listenerOf, startCuttingProxy, throughProxy, type CuttingProxy } from "../support/cutting-proxy.ts";
import { cloneCaseDatabase } from "../support/databases.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { listAllEvents } from "../support/pair.ts";
import { refusalOf } from "../support/reason-of.ts";
import { openSuperuser } from "../support/superuser.ts";
import { createIssuer, type Issuer } from "../support/tokens.ts";

/*
 * Writers whose transactions stay open while others commit and are delivered: the event ids are made before the commit, so
 * that a late one stands before many that the relay has delivered long since. It must not be passed over.
 */

const waits = { timeout: 10_000, interval: 20 };
/** Longer than the tests: nothing is found by the poll. */
const neverMs = 60_000;

expectNoLeaks();

const stack = new AsyncDisposableStack();
let issuer: Issuer;
let audit: AuditServiceFixture;
/** Writes at once. */
let quick: CaseServiceFixture;
/** Its way to the database leads through `front`. */
let late: CaseServiceFixture;
let front: CuttingProxy;

beforeAll(async () => {
  issuer = stack.use(await createIssuer());
  audit = stack.use(await startAuditService({ issuer }));
  const database = stack.use(await cloneCaseDatabase());
  front = stack.use(await startCuttingProxy(listenerOf(database.appUrl)));
  const proxied = { ...database, appUrl: throughProxy(database.appUrl, front) };
  const config = { relay: "off" } as const;
  quick = stack.use(await startCaseService({ issuer, database, config }));
  late = stack.use(await startCaseService({ issuer, database: proxied, config }));
});
afterAll(() => stack.disposeAsync());

async function startRelay(pollMs: number, auditUrl = audit.url): Promise<AsyncDisposable> {
  const config = {
    relayDatabaseUrl: quick.database.relayUrl,
    auditUrl,
    auditTokenFile: await writeRelayToken(issuer),
    relayPollMs: pollMs,
    logLevel: "silent",
  } as const;
  return openRelay(config, keptLog("relay-test"), () => new Date());
}

const eventsOf = (tenant: string) => listAllEvents(audit.url, issuer, tenant);

/** Creates a case as a caseworker of the tenant. */
async function create(cases: CaseServiceFixture, tenant: string): Promise<string> {
  const client = await cases.as("caseworker", tenant);
  return refusalOf(client.createCase({ requestId: randomUUID(), caseType: "permit", content }));
}

/** Starts a creation and leaves its transaction open. */
async function createHeld(tenant: string) {
  const held = holdCommit(front, quick.database.superuserUrl);
  const outcome = create(late, tenant);
  await held.reached();
  return { outcome, release: held.release };
}

test("events that commit after later ones were delivered are delivered as well, at once", async () => {
  const tenant = "late-commits";
  await using _relay = await startRelay(neverMs);
  // No more than that: the service gives up a write that takes ten seconds, and a busy machine is slow.
  const held = [await createHeld(tenant), await createHeld(tenant)];
  await openCase(quick, "submitted", tenant);
  await expect.poll(() => eventsOf(tenant), waits).toHaveLength(2);
  for (const [index, { outcome, release }] of held.toReversed().entries()) {
    release();
    expect(await outcome).toBe("accepted");
    await expect.poll(() => eventsOf(tenant), waits).toHaveLength(3 + index);
  }
});

test("an event that commits while the relay is busy with later ones is delivered as well", async () => {
  const tenant = "late-while-busy";
  await using auditFront = await startCuttingProxy({
    host: "127.0.0.1",
    port: Number(new URL(audit.url).port),
  });
  const batch = auditFront.strike({ side: "client", has: tenant }, "hold");
  await using _relay = await startRelay(neverMs, `http://127.0.0.1:${auditFront.port}`);
  const held = await createHeld(tenant);
  await openCase(quick, "submitted", tenant);
  await batch.struck;
  held.release();
  expect(await held.outcome).toBe("accepted");
  batch.release();
  await expect.poll(() => eventsOf(tenant), waits).toHaveLength(3);
});

test("an event whose writer never heard of its commit, and told nobody, is found by the poll", async () => {
  const tenant = "late-unheard";
  await using _relay = await startRelay(200);
  const held = await createHeld(tenant);
  await openCase(quick, "submitted", tenant);
  await expect.poll(() => eventsOf(tenant), waits).toHaveLength(2);
  held.release("cut-answer");
  expect(await held.outcome).toBe("Unavailable OUTCOME_UNKNOWN");
  await expect.poll(() => eventsOf(tenant), waits).toHaveLength(3);
});

test("an open transaction of one case keeps no other case of its tenant waiting", async () => {
  const tenant = "late-alone";
  await using _relay = await startRelay(neverMs);
  const held = await createHeld(tenant);
  await openCase(quick, "closed", tenant);
  await expect.poll(() => eventsOf(tenant), waits).toHaveLength(6);
  held.release();
  expect(await held.outcome).toBe("accepted");
});

test("writes that cross each other's cases and request ids never deadlock", async () => {
  const tenant = "crossed";
  const caseIds = [await openCase(quick, "draft", tenant), await openCase(quick, "draft", tenant)];
  const clients = [await quick.as("caseworker", tenant), await late.as("caseworker", tenant)];
  const rounds = 10;
  for (let round = 0; round < rounds; round++) {
    const requestIds = [randomUUID(), randomUUID()];
    // Each request id goes to both cases at once, and each case gets both.
    const outcomes = await Promise.all(
      Array.from({ length: 24 }, (_, index) => {
        const caseId = caseIds[(index >> 1) % 2]!;
        const requestId = requestIds[index % 2]!;
        const update = { requestId, caseId, content, updateMask: { paths: ["title"] } };
        return refusalOf(clients[(index >> 2) % 2]!.updateCase(update));
      }),
    );
    const known = ["accepted", "InvalidArgument REQUEST_ID_REUSED"];
    expect(outcomes.filter((outcome) => !known.includes(outcome))).toEqual([]);
  }
  await using superuser = await openSuperuser(quick.database.superuserUrl);
  // A server process that ends has handed in what it counted.
  const ofServices =
    "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'caseflow-case'";
  await superuser.query(`SELECT pg_terminate_backend(pid) ${ofServices}`);
  await expect.poll(async () => (await superuser.query(`SELECT ${ofServices}`)).rowCount, waits).toBe(0);
  const { rows } = await superuser.query(
    "SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()",
  );
  expect(rows).toEqual([{ deadlocks: 0 }]);
  const { rows: entries } = await superuser.query("SELECT FROM audit_entries WHERE tenant_id = $1", [tenant]);
  expect(entries, "two creations, and one update a request id").toHaveLength(2 + 2 * rounds);
});

test("a write that PostgreSQL ends to break a deadlock is decided anew, and takes effect once", async () => {
  const tenant = "deadlock";
  const caseId = await openCase(quick, "draft", tenant);
  const other = await openCase(quick, "draft", tenant);
  const requestId = randomUUID();
  await using rival = await openSuperuser(quick.database.superuserUrl);
  await rival.query("SET deadlock_timeout = '60s'"); // The other side looks first, and is the one to go.
  await rival.query("BEGIN");
  // Whoever writes this request id waits for the rival…
  await rival.query(
    `INSERT INTO recorded_answers (tenant_id, principal_id, request_id, request_hash, answer, case_id, version, expires_at)
     VALUES ($1, 'caseworker', $2, '', '', $3, 1, now())`,
    [tenant, requestId, other],
  );
  const client = await quick.as("caseworker", tenant);
  const outcome = refusalOf(client.submitCase({ requestId, caseId }));
  await using superuser = await openSuperuser(quick.database.superuserUrl);
  const waiting = async () =>
    (
      await superuser.query(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
      )
    ).rowCount;
  await expect.poll(waiting, waits).toBe(1);
  // … and the rival waits for the case that it has changed.
  await rival.query("SELECT FROM cases WHERE tenant_id = $1 AND case_id = $2 FOR UPDATE", [tenant, caseId]);
  await rival.query("ROLLBACK");
  expect(await outcome).toBe("accepted");
  const { rows } = await superuser.query(
    "SELECT action FROM audit_entries WHERE tenant_id = $1 AND case_id = $2 ORDER BY version",
    [tenant, caseId],
  );
  expect(rows).toEqual([{ action: "create" }, { action: "submit" }]);
});
