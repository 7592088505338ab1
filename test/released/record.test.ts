import { randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import pg from "pg";
import { expect, test } from "vitest";
import { CaseState } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import { content, openCase, startCaseService, writeRelayToken, tenant } from "../support/case-service.ts";
import { startAuditService } from "../support/audit-service.ts";
import { makeEvent } from "../support/events.ts";
import { openSuperuser } from "../support/superuser.ts";
import { createIssuer } from "../support/tokens.ts";
import { createLog } from "#libs/telemetry/log.ts";
import { openRelay } from "#services/case/rpc/open-relay.ts";
import { tapePath, toTapeValue, type TapeCommand, type TapeTransaction } from "./tape.ts";

/* Writes the tape of a release: CASEFLOW_RECORD=<version>. Run once, from the code that is released. Skipped otherwise. */

const version = process.env["CASEFLOW_RECORD"];
const roles = ["case_app", "case_relay", "audit_app"];

test.skipIf(version === undefined)("the statements of this code are recorded", async () => {
  const tape: TapeTransaction[] = [];
  using _recording = record(tape);
  await using issuer = await createIssuer();
  await using audit = await startAuditService({ issuer });
  await using cases = await startCaseService({ issuer, config: { relay: "off" } });

  const caseId = await openCase(cases);
  const caseworker = await cases.as("caseworker");
  const request = { requestId: randomUUID(), caseId, content, updateMask: { paths: ["title"] } };
  await caseworker.updateCase(request);
  await caseworker.updateCase(request); // Replayed.
  for (const until of ["closed", "rejected"] as const) await openCase(cases, until);
  const reference = { requestId: randomUUID(), caseType: "permit", externalReference: "P-1", content };
  const parked = (await caseworker.createCase(reference)).case!.caseId;
  const filters = [
    {},
    { states: [CaseState.DRAFT] },
    { states: [CaseState.DRAFT, CaseState.CLOSED] },
    { caseType: "permit" },
    { assignedReviewerId: "reviewer" },
    { creatorId: "caseworker" },
    { externalReference: "P-1" },
    { changedSince: { seconds: 1n } },
  ];
  for (const filter of filters) {
    const { nextPageToken: pageToken } = await caseworker.listCases({ ...filter, pageSize: 1 });
    if (pageToken !== "") await caseworker.listCases({ ...filter, pageSize: 1, pageToken });
  }
  await caseworker.getCase({ caseId });
  await caseworker.getCaseHistory({ caseId });

  // One event is delivered already as another: a dead letter.
  const squatter = makeEvent({ tenantId: tenant, source: "caseflow/case", subject: parked });
  await (await audit.source(["caseflow/case"])).recordEvents({ events: [squatter.bytes] });
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  {
    const { relayUrl: relayDatabaseUrl } = cases.database;
    const auditTokenFile = await writeRelayToken(issuer);
    const settings = {
      relayDatabaseUrl,
      auditUrl: audit.url,
      auditTokenFile,
      relayPollMs: 50,
      logLevel: "silent",
    } as const;
    const log = createLog({ service: "record", version: "test", commit: "test", level: "silent" });
    await using _relay = openRelay(settings, log, () => new Date());
    await expect
      .poll(async () => (await superuser.query("SELECT FROM outbox")).rowCount, { timeout: 10_000 })
      .toBe(0);
  }
  const auditor = await audit.auditor(tenant);
  await auditor.getEvent({ eventId: squatter.eventId });
  for (const filter of [{}, { subject: caseId }, { type: "caseflow.case.created", actorId: "caseworker" }])
    await auditor.listEvents({ filter, pageSize: 5 });
  expect(tape.length).toBeGreaterThan(30);
  await writeFile(tapePath(version!), `${JSON.stringify(tape, null, 1)}\n`);
});

/** Listens to every connection of the service's roles until disposed. */
function record(tape: TapeTransaction[]): Disposable {
  const { query } = pg.Client.prototype;
  const open = new Map<pg.Client, TapeCommand[]>();
  const listen = function (this: pg.Client, ...args: [unknown, ...unknown[]]): unknown {
    const answer: unknown = (query as (...values: unknown[]) => unknown).apply(this, args);
    const [given] = args;
    const text = typeof given === "string" ? given : (given as { text?: string }).text;
    const user = this.user ?? "";
    if (text === undefined || !roles.includes(user) || !(answer instanceof Promise)) return answer;
    const values =
      typeof given === "string"
        ? undefined
        : ((given as { values?: unknown[] }).values ?? []).map(toTapeValue);
    if (text.startsWith("BEGIN")) open.set(this, []);
    const commands = open.get(this);
    if (commands === undefined) return answer; // Locks and notifications, which belong to a session.
    const at = commands.push({ text, ...(values && { values }), command: "", rowCount: 0 }) - 1;
    if (text === "COMMIT") open.delete(this);
    return answer.then((result: pg.QueryResult | pg.QueryResult[]) => {
      const last = Array.isArray(result) ? result.at(-1)! : result;
      commands[at] = { ...commands[at]!, command: last.command, rowCount: last.rowCount ?? 0 };
      if (text === "COMMIT" && !/health_probe|SELECT 1$|pg_notify/.test(commands[1]?.text ?? ""))
        tape.push({ role: user, commands });
      return result;
    });
  };
  pg.Client.prototype.query = listen as typeof query;
  return { [Symbol.dispose]: () => void (pg.Client.prototype.query = query) };
}
