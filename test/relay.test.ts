import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { keptLog } from "./support/kept-output.ts";
import { openRelay } from "#services/case/rpc/open-relay.ts";
import { startAuditService } from "./support/audit-service.ts";
import { countMetrics } from "./support/count-metrics.ts";
import { openCase, startCaseService, tenant, writeRelayToken } from "./support/case-service.ts";
import { makeEvent } from "./support/events.ts";
import { listAllEvents } from "./support/pair.ts";
import { createIssuer } from "./support/tokens.ts";
import { openSuperuser } from "./support/superuser.ts";

const log = keptLog("relay-test");
const waits = { timeout: 10_000 };

test("a rejected event becomes a dead letter, counted by its reason, and parks its case, while other cases go on", async () => {
  using counted = countMetrics();
  await using issuer = await createIssuer();
  await using audit = await startAuditService({ issuer });
  await using cases = await startCaseService({
    issuer,
    auditUrl: audit.url,
    config: { relayPollMs: 50, relay: "off" },
  });
  const parked = await openCase(cases, "submitted");
  const source = await audit.source(["caseflow/case"]);
  const squatter = makeEvent({ tenantId: tenant, source: "caseflow/case", subject: parked });
  await source.recordEvents({ events: [squatter.bytes] });
  const other = await openCase(cases, "submitted");

  await using _relay = openRelay(
    {
      relayDatabaseUrl: cases.database.relayUrl,
      auditUrl: audit.url,
      auditTokenFile: await writeRelayToken(issuer),
      relayPollMs: 50,
      logLevel: "silent",
    },
    log,
    () => new Date(),
  );

  await using client = await openSuperuser(cases.database.superuserUrl);
  const deadLetters = async () =>
    (await client.query("SELECT case_id, version, reason FROM dead_letters")).rows;
  await expect.poll(deadLetters, waits).toEqual([{ case_id: parked, version: 1, reason: "SEQUENCE_REUSED" }]);
  const told = async () =>
    (await listAllEvents(audit.url, issuer)).filter(({ event }) => event?.subject === other);
  await expect.poll(told, waits).toHaveLength(2);
  const late = await openCase(cases, "submitted");
  await expect
    .poll(
      async () => (await listAllEvents(audit.url, issuer)).filter(({ event }) => event?.subject === late),
      waits,
    )
    .toHaveLength(2);
  const { rows } = await client.query("SELECT case_id, version FROM outbox");
  expect(rows).toEqual([{ case_id: parked, version: 2 }]);
  expect(counted.counts.get("caseflow.relay.dead_letters SEQUENCE_REUSED")).toBe(1);
});

test("a relay on its own is woken by the notification of a service elsewhere, without waiting for its poll", async () => {
  await using issuer = await createIssuer();
  await using audit = await startAuditService({ issuer });
  await using cases = await startCaseService({ issuer, config: { relay: "off" } });
  await using _relay = openRelay(
    {
      relayDatabaseUrl: cases.database.relayUrl,
      auditUrl: audit.url,
      auditTokenFile: await writeRelayToken(issuer),
      relayPollMs: 60_000,
      logLevel: "silent",
    },
    log,
    () => new Date(),
  );
  await openCase(cases, "closed");
  await expect.poll(async () => listAllEvents(audit.url, issuer), waits).toHaveLength(6);
});

test("what was written while no relay ran is found by the poll", async () => {
  await using issuer = await createIssuer();
  await using audit = await startAuditService({ issuer });
  await using cases = await startCaseService({ issuer, auditUrl: audit.url, config: { relayPollMs: 50 } });
  await using silent = await startCaseService({ issuer, database: cases.database, config: { relay: "off" } });
  await openCase(silent, "closed", `t-${randomUUID()}`);
  await using client = await openSuperuser(cases.database.superuserUrl);
  await expect.poll(async () => (await client.query("SELECT FROM outbox")).rowCount, waits).toBe(0);
});

test("two relays on one outbox deliver each event once to the log, in order a case", async () => {
  await using issuer = await createIssuer();
  await using audit = await startAuditService({ issuer });
  await using first = await startCaseService({ issuer, auditUrl: audit.url, config: { relayPollMs: 20 } });
  await using second = await startCaseService({
    issuer,
    auditUrl: audit.url,
    database: first.database,
    config: { relayPollMs: 20 },
  });
  const opened = await Promise.all(
    Array.from({ length: 20 }, (_, index) => openCase(index % 2 ? first : second, "closed")),
  );
  await expect
    .poll(async () => (await listAllEvents(audit.url, issuer)).length, waits)
    .toBe(opened.length * 6);
  const events = await listAllEvents(audit.url, issuer);
  for (const [, ofCase] of Map.groupBy(events, ({ event }) => event!.subject)) {
    expect(ofCase.map(({ event }) => event!.subjectSequence)).toEqual([1n, 2n, 3n, 4n, 5n, 6n]);
  }
});
