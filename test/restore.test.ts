import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { startAuditService } from "./support/audit-service.ts";
import { content, openCase, startCaseService, type CaseServiceFixture } from "./support/case-service.ts";
import { cloneAuditDatabase, cloneCaseDatabase } from "./support/databases.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { listAllEvents } from "./support/pair.ts";
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
