import type pg from "pg";
import { expect } from "vitest";
import { keptLog } from "./kept-output.ts";
import { openRelay } from "#services/case/rpc/open-relay.ts";
import type { AuditServiceFixture } from "./audit-service.ts";
import { writeRelayToken } from "./case-service.ts";
import type { CaseDatabase, TestDatabase } from "./databases.ts";
import { expectSoundTrees } from "./sound-tree.ts";
import { openSuperuser } from "./superuser.ts";
import type { Issuer } from "./tokens.ts";

const drainMs = 60_000;
const waits = { timeout: drainMs, interval: 20 };

/** Lets a relay deliver what waits, and then checks that it is all there: see `expectSameStory`. */
export async function expectAudited(stage: {
  readonly database: CaseDatabase;
  readonly audit: Pick<AuditServiceFixture, "url" | "database">;
  readonly issuer: Issuer;
}): Promise<void> {
  const config = {
    relayDatabaseUrl: stage.database.relayUrl,
    auditUrl: stage.audit.url,
    auditTokenFile: await writeRelayToken(stage.issuer),
    relayPollMs: 100,
    logLevel: "silent",
  } as const;
  const log = keptLog("relay-test");
  await using _relay = openRelay(config, log, () => new Date());
  await expectDrained(stage.database);
  await expectSameStory(stage.database, stage.audit.database);
}

/** Waits until nothing is left to deliver. */
export async function expectDrained({ superuserUrl }: TestDatabase): Promise<void> {
  await using superuser = await openSuperuser(superuserUrl);
  const waiting = async () => (await superuser.query("SELECT FROM outbox")).rowCount;
  await expect.poll(waiting, { ...waits, message: "waiting in the outbox" }).toBe(0);
}

/**
 * Both databases tell the same story: each transition of a case is one event, no event is of anything else, versions and leaf
 * indexes have no gap, and nobody is left in the middle of a transaction.
 */
export async function expectSameStory(cases: TestDatabase, audit: TestDatabase): Promise<void> {
  await using ofCases = await openSuperuser(cases.superuserUrl);
  await using ofAudit = await openSuperuser(audit.superuserUrl);
  const entries = await ofCases.query(told);
  const events = await ofAudit.query(
    `SELECT tenant_id, subject, subject_sequence::int AS sequence, event_id, encode(digest, 'hex') AS digest
       FROM events WHERE source = 'caseflow/case' ORDER BY tenant_id COLLATE "C", subject, subject_sequence`,
  );
  expect(entries.rowCount).toBeGreaterThan(0);
  expect(events.rows).toEqual(entries.rows);
  const none = { rows: [] };
  expect(await ofCases.query(brokenCases), "cases that are not where their entries lead").toMatchObject(none);
  expect(await ofCases.query("SELECT * FROM dead_letters")).toMatchObject(none);
  await expectSoundLog(audit);
  await expectNothingOpen(ofCases, "case");
}

/**
 * Leaf indexes and sequences have no gap, sizes and heads are those of the events, trees, tiles and checkpoints those of their
 * bytes, and no transaction is left open.
 */
export async function expectSoundLog({ superuserUrl }: TestDatabase): Promise<void> {
  await using superuser = await openSuperuser(superuserUrl);
  const none = { rows: [] };
  expect(await superuser.query(brokenLogs), "logs with a gap, or of another size than told").toMatchObject(
    none,
  );
  expect(await superuser.query(brokenHeads), "heads that are not the last event").toMatchObject(none);
  await expectSoundTrees(superuser);
  await expectNothingOpen(superuser, "audit");
}

async function expectNothingOpen(superuser: pg.Client, name: string): Promise<void> {
  const open = async () => (await superuser.query(openTransactions)).rows;
  await expect.poll(open, { ...waits, message: `left open in the ${name} database` }).toEqual([]);
}

/** What the audit service should have: of an entry that was skipped, its tombstone. */
const told = `
  SELECT tenant_id, subject, version::int AS sequence, coalesce(t.event_id, e.event_id) AS event_id,
         encode(coalesce(sha256(t.event), e.event_digest), 'hex') AS digest
    FROM audit_entries e LEFT JOIN tombstones t USING (tenant_id, case_id, version),
         LATERAL (SELECT CASE WHEN action IN ('redrive', 'skip') THEN 'delivery' ELSE case_id::text END AS subject) s
   ORDER BY tenant_id COLLATE "C", subject COLLATE "C", version`;
const brokenCases = `
  SELECT c.tenant_id, c.case_id FROM cases c JOIN audit_entries e USING (tenant_id, case_id)
   GROUP BY c.tenant_id, c.case_id, c.version HAVING count(*) <> c.version OR max(e.version) <> c.version`;
const brokenLogs = `
  SELECT l.tenant_id FROM logs l LEFT JOIN events e USING (tenant_id)
   GROUP BY l.tenant_id, l.size HAVING count(e.leaf_index) <> l.size OR coalesce(max(e.leaf_index), -1) <> l.size - 1`;
const brokenHeads = `
  SELECT coalesce(h.tenant_id, e.tenant_id) AS tenant_id
    FROM subject_heads h FULL JOIN
         (SELECT tenant_id, source, subject, max(subject_sequence) AS last, count(*) AS count FROM events GROUP BY 1, 2, 3) e
         USING (tenant_id, source, subject)
   WHERE h.last_sequence IS DISTINCT FROM e.last OR e.last <> e.count`;
const openTransactions = `
  SELECT pid, state, query FROM pg_stat_activity
   WHERE datname = current_database() AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'`;
