import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { startAuditService } from "./support/audit-service.ts";
import { compareServices, type Services } from "./support/compare-services.ts";
import { content, openCase, startCaseService, type CaseServiceFixture } from "./support/case-service.ts";
import { cloneAuditDatabase, cloneCaseDatabase, type AuditDatabase } from "./support/databases.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { listAllEvents } from "./support/pair.ts";
import { makeSigning, untilSealed } from "./support/signing.ts";
import { expectSoundTrees } from "./support/sound-tree.ts";
import { openSuperuser } from "./support/superuser.ts";
import { createIssuer } from "./support/tokens.ts";
import { untilDelivered } from "./support/until-delivered.ts";
import { waitUntil } from "./support/wait-until.ts";
import { openWatch, startWatch } from "./support/watcher.ts";

expectNoLeaks();

/* What docs/backup.md says of a side that was put back to an earlier time. A copy of the database stands for its backup. */

async function update(cases: CaseServiceFixture, caseId: string, title: string): Promise<void> {
  const caseworker = await cases.as("caseworker");
  const updateMask = { paths: ["title"] };
  await caseworker.updateCase({
    requestId: randomUUID(),
    caseId,
    content: { ...content, title },
    updateMask,
  });
}

test("a case database put back to an earlier time changes nothing that was audited, and its watchers are told", async () => {
  await using issuer = await createIssuer();
  await using audit = await startAuditService({ issuer });
  await using live = await cloneCaseDatabase();
  const options = { issuer, auditUrl: audit.url, config: { relayPollMs: 50 } };
  const caseId = await (async () => {
    await using cases = await startCaseService({ ...options, database: live });
    const id = await openCase(cases);
    await untilDelivered(cases.database);
    return id;
  })();
  await using backup = await cloneCaseDatabase(live.name);
  const token = await (async () => {
    await using cases = await startCaseService({ ...options, database: live });
    await using watch = await openWatch(await cases.as("auditor"));
    await update(cases, caseId, "lost by the restore");
    await watch.until((messages) => messages.some((message) => message.case?.version === 2));
    await untilDelivered(cases.database);
    return watch.resumeToken;
  })();
  const audited = await listAllEvents(audit.url, issuer);
  expect(audited).toHaveLength(2);

  await using restored = await startCaseService({ ...options, database: backup });
  expect(await startWatch(await restored.as("auditor"), token).ended).toBe("OutOfRange RESUME_TOKEN_EXPIRED");
  const other = await openCase(restored);
  await update(restored, caseId, "another second version");
  await untilDelivered(restored.database);
  await using superuser = await openSuperuser(backup.superuserUrl);
  const { rows } = await superuser.query("SELECT case_id, version, reason FROM dead_letters");
  expect(rows).toEqual([{ case_id: caseId, version: 2, reason: "SEQUENCE_REUSED" }]);
  const now = await listAllEvents(audit.url, issuer);
  expect(now.slice(0, 2)).toEqual(audited);
  expect(now.slice(2).map(({ event }) => event?.subject)).toEqual([other]);
});

test("an audit database put back to an earlier time takes no event before the ones that it lost", async () => {
  await using issuer = await createIssuer();
  await using live = await cloneAuditDatabase();
  await using caseDatabase = await cloneCaseDatabase();
  const caseId = await (async () => {
    await using audit = await startAuditService({ issuer, database: live });
    await using cases = await startCaseService({ issuer, auditUrl: audit.url, database: caseDatabase });
    const id = await openCase(cases);
    await untilDelivered(cases.database);
    return id;
  })();
  await using backup = await cloneAuditDatabase(live.name);
  {
    await using audit = await startAuditService({ issuer, database: live });
    await using cases = await startCaseService({ issuer, auditUrl: audit.url, database: caseDatabase });
    await update(cases, caseId, "lost by the restore");
    await untilDelivered(cases.database);
  }
  await using audit = await startAuditService({ issuer, database: backup });
  await using cases = await startCaseService({ issuer, auditUrl: audit.url, database: caseDatabase });
  await update(cases, caseId, "a third version");
  const other = await openCase(cases);
  await waitUntil(async () => (await listAllEvents(audit.url, issuer)).length > 1);
  const subjects = (await listAllEvents(audit.url, issuer)).map(({ event }) => event?.subject);
  expect(subjects).toEqual([caseId, other]);
  await using superuser = await openSuperuser(caseDatabase.superuserUrl);
  await waitUntil(async () => (await superuser.query("SELECT FROM outbox")).rowCount === 1);
  const { rows } = await superuser.query("SELECT case_id, version FROM outbox");
  expect(rows).toEqual([{ case_id: caseId, version: 3 }]);
  expect((await superuser.query("SELECT FROM dead_letters")).rowCount).toBe(0);
});

test("an audit database put back to an earlier time is not signed, which is said, until what it lost was delivered again; then what was signed goes on", async () => {
  await using issuer = await createIssuer();
  await using signing = await makeSigning();
  await using live = await cloneAuditDatabase();
  await using caseDatabase = await cloneCaseDatabase();
  const logged: Record<string, unknown>[] = [];
  /** Both services, on this audit database. */
  const withServices = async <T>(database: AuditDatabase, act: (services: Services) => Promise<T>) => {
    await using audit = await startAuditService({ issuer, database, signing, logged });
    await using cases = await startCaseService({ issuer, auditUrl: audit.url, database: caseDatabase });
    return await act({ cases, audit });
  };
  const settled = async ({ audit }: Services) => {
    await untilDelivered(caseDatabase);
    return await untilSealed(await audit.auditor());
  };
  const caseId = await withServices(live, async (services) => {
    const id = await openCase(services.cases);
    await settled(services);
    return id;
  });
  await using backup = await cloneAuditDatabase(live.name);
  const last = await withServices(live, async (services) => {
    for (const title of ["lost by the restore", "lost too"]) await update(services.cases, caseId, title);
    return (await settled(services)).checkpoint;
  });
  await withServices(backup, async (services) => {
    await waitUntil(async () => logged.some(({ why }) => why === "rolled_back"));
    expect(logged.find(({ why }) => why)).toMatchObject({
      detail: "1 leaves are left of 3",
      remedy: expect.stringContaining("caseflow reconcile --repair"),
    });
    expect(await compareServices(services, { repair: true })).toMatchObject({ totals: { requeued: 2 } });
    expect((await settled(services)).checkpoint, "as it was signed the first time").toBe(last);
    expect(logged.map(({ msg }) => msg)).toContain("the log is signed again");
    await update(services.cases, caseId, "after the restore");
    await settled(services);
    await using superuser = await openSuperuser(backup.superuserUrl);
    await expectSoundTrees(superuser);
  });
});
