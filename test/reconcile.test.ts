import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import type { AuditedEvent } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { subjectId } from "#services/case/application/subject-id.ts";
import { readConfig } from "#services/cli/config.ts";
import { createProgram } from "#services/cli/main.ts";
import { startAuditService, testSource } from "./support/audit-service.ts";
import { caseflow } from "./support/caseflow-command.ts";
import {
  content,
  openCase,
  setPolicy,
  startCaseService,
  tenant,
  type CaseServiceFixture,
} from "./support/case-service.ts";
import { commandInProcess } from "./support/command-in-process.ts";
import { compareServices, reconcilerToken, toTold, type Services } from "./support/compare-services.ts";
import {
  cloneAuditDatabase,
  cloneCaseDatabase,
  type CaseDatabase,
  type AuditDatabase,
} from "./support/databases.ts";
import { makeEvent } from "./support/events.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { fillWithManyCases } from "./support/many-cases.ts";
import { listAllEvents, startPair, type Pair } from "./support/pair.ts";
import { openSuperuser } from "./support/superuser.ts";
import { createIssuer, type Issuer } from "./support/tokens.ts";
import { untilDelivered } from "./support/until-delivered.ts";

expectNoLeaks();

/* `caseflow reconcile` beside both services. A copy of a database stands for its backup. */

const none = { missing: 0, unexpected: 0, different: 0, pending: 0, requeued: 0 };

/** Where the command finds both services, and who asks. */
async function targetOf(services: Services) {
  const token = await reconcilerToken(services);
  return { url: services.cases.url, auditUrl: services.audit.url, token };
}

async function run(services: Services, ...args: string[]) {
  const { url, auditUrl, token } = await targetOf(services);
  return commandInProcess(["reconcile", ...args], {
    CASE_URL: url,
    AUDIT_URL: auditUrl,
    CASEFLOW_TOKEN: token,
  });
}

async function startOn(
  issuer: Issuer,
  caseDatabase: CaseDatabase,
  auditDatabase: AuditDatabase,
): Promise<Pair> {
  await using opened = new AsyncDisposableStack();
  const audit = opened.use(await startAuditService({ issuer, database: auditDatabase }));
  const options = { issuer, auditUrl: audit.url, database: caseDatabase };
  const cases = opened.use(await startCaseService({ ...options, config: { relayPollMs: 50 } }));
  const running = opened.move();
  return { cases, audit, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

function auditedBy({ cases, audit }: Services): Promise<AuditedEvent[]> {
  return listAllEvents(audit.url, cases.issuer);
}

async function rename(cases: CaseServiceFixture, caseId: string, title: string): Promise<void> {
  const caseworker = await cases.as("caseworker");
  const [requestId, updateMask] = [randomUUID(), { paths: ["title"] }];
  await caseworker.updateCase({ requestId, caseId, content: { ...content, title }, updateMask });
}

/** Cases and policies, of which some are to be lost; returns the first case. */
async function fill(cases: CaseServiceFixture): Promise<string> {
  const caseId = await openCase(cases);
  await openCase(cases, "approved");
  for (const caseType of ["permit", "zoning"]) await setPolicy(cases, caseType);
  return caseId;
}

/** Goes on with what `fill` began. */
async function goOn(cases: CaseServiceFixture, caseId: string): Promise<void> {
  await rename(cases, caseId, "once more");
  await rename(cases, caseId, "and again");
  await openCase(cases, "submitted");
  for (const caseType of ["permit", "appeal_office"]) await setPolicy(cases, caseType);
}

/** What a pair on these databases audits before and after a backup is taken of one of them. */
async function liveThrough<D extends CaseDatabase | AuditDatabase>(
  issuer: Issuer,
  [caseDatabase, auditDatabase]: readonly [CaseDatabase, AuditDatabase],
  takeBackup: () => Promise<D>,
) {
  const caseId = await (async () => {
    await using pair = await startOn(issuer, caseDatabase, auditDatabase);
    const id = await fill(pair.cases);
    await untilDelivered(caseDatabase);
    return id;
  })();
  const backup = await takeBackup();
  await using pair = await startOn(issuer, caseDatabase, auditDatabase);
  const before = await auditedBy(pair);
  await goOn(pair.cases, caseId);
  await untilDelivered(caseDatabase);
  const after = await auditedBy(pair);
  return { caseId, backup, before, after, lost: after.slice(before.length) };
}

test("two services that agree are told to, whatever other tenants and other sources have", async () => {
  await using pair = await startPair();
  const caseId = await fill(pair.cases);
  await openCase(pair.cases, "draft", "neighbour");
  const others = await pair.audit.source([testSource]);
  const named = [caseId, "policy/permit"].map((subject) => makeEvent({ subject, tenantId: tenant }).bytes);
  await others.recordEvents({ events: named });
  await untilDelivered(pair.cases.database);
  const count = (await auditedBy(pair)).length - named.length;
  const text = await caseflow(await targetOf(pair), ["reconcile"]); // As its user runs it.
  const json = await run(pair, "--json", "--repair");
  const line = `entries=${count} events=${count} missing=0 unexpected=0 different=0 pending=0 requeued=0`;
  expect(text).toEqual({ exit: 0, stdout: `${line}\n`, stderr: "" });
  expect(json.exit).toBe(0);
  expect(JSON.parse(json.stdout)).toEqual({ ...none, entries: count, events: count });
});

test("what an audit database that was put back has lost is named, queued again, and back in its place, as often as it is lost", async () => {
  await using issuer = await createIssuer();
  await using databases = new AsyncDisposableStack();
  const caseDatabase = databases.use(await cloneCaseDatabase());
  const live = databases.use(await cloneAuditDatabase());
  const takeBackup = async () => databases.use(await cloneAuditDatabase(live.name));
  const { backup, before, after, lost } = await liveThrough(issuer, [caseDatabase, live], takeBackup);
  const secondBackup = databases.use(await cloneAuditDatabase(backup.name));
  const [entries, missing] = [after.length, lost.length];

  for (const restored of [backup, secondBackup]) {
    await using pair = await startOn(issuer, caseDatabase, restored);
    const found = await compareServices(pair);
    expect(found.told).toEqual(toTold("missing", lost));
    expect(found.totals).toEqual({ ...none, entries, events: before.length, missing });
    expect(await auditedBy(pair)).toEqual(before); // Looking queues nothing.

    const repaired = await compareServices(pair, { repair: true });
    expect(repaired.told).toEqual(found.told);
    expect(repaired.totals).toEqual({ ...found.totals, requeued: missing });
    await untilDelivered(caseDatabase);
    const bytesOf = (events: readonly AuditedEvent[]) =>
      events.map(({ eventBytes }) => Buffer.from(eventBytes).toString("base64")).toSorted();
    expect(bytesOf(await auditedBy(pair))).toEqual(bytesOf(after));
    expect(await compareServices(pair)).toMatchObject({ told: [], totals: { entries, events: entries } });
    await using superuser = await openSuperuser(caseDatabase.superuserUrl);
    expect((await superuser.query("SELECT FROM dead_letters")).rowCount).toBe(0);
  }
});

test("what a case database that was put back has lost is unexpected, and what is written in its place is different", async () => {
  await using issuer = await createIssuer();
  await using databases = new AsyncDisposableStack();
  const auditDatabase = databases.use(await cloneAuditDatabase());
  const live = databases.use(await cloneCaseDatabase());
  const takeBackup = async () => databases.use(await cloneCaseDatabase(live.name));
  const lived = await liveThrough(issuer, [live, auditDatabase], takeBackup);
  const { caseId, backup, before, after, lost } = lived;

  await using pair = await startOn(issuer, backup, auditDatabase);
  const found = await compareServices(pair);
  expect(found.told).toEqual(toTold("unexpected", lost));
  const totals = { ...none, entries: before.length, events: after.length, unexpected: lost.length };
  expect(found.totals).toEqual(totals);
  expect((await compareServices(pair, { repair: true })).totals).toEqual(totals); // There is nothing that could be queued.

  await rename(pair.cases, caseId, "another second version");
  await openCase(pair.cases);
  await untilDelivered(backup);
  const { findings, told } = await compareServices(pair);
  const second = lost.find(({ event }) => event!.subject === caseId);
  const others = lost.filter((event) => event !== second);
  expect(told.filter((line) => line.startsWith("unexpected"))).toEqual(toTold("unexpected", others));
  expect(findings.filter(({ outcome }) => outcome !== "unexpected")).toMatchObject([
    { outcome: "different", subject: caseId, sequence: 2, detail: `audited: ${second!.event!.eventId}` },
  ]);
});

test("what either side has rewritten is different, and nothing else is", async () => {
  await using pair = await startPair();
  const [first, second] = [await openCase(pair.cases, "submitted"), await openCase(pair.cases, "submitted")];
  for (const caseType of ["permit", "zoning"]) await setPolicy(pair.cases, caseType);
  await untilDelivered(pair.cases.database);
  await using ofCases = await openSuperuser(pair.cases.database.superuserUrl);
  const retell = (subject: string, version: number, bytes: Uint8Array) =>
    ofCases.query(
      "UPDATE audit_entries SET event = $3, event_digest = sha256($3) WHERE case_id = $1 AND version = $2",
      [subjectId(subject), version, bytes],
    );
  const damaged = Buffer.from("another story");
  await retell(first, 2, damaged);
  await retell("policy/permit", 1, makeEvent({ tenantId: tenant, subject: "policy/permit" }).bytes);
  await retell("policy/zoning", 1, damaged);
  await using ofAudit = await openSuperuser(pair.audit.database.superuserUrl);
  const forged = makeEvent({ tenantId: tenant, subject: second, subjectSequence: 2n }).bytes;
  await ofAudit.query(
    `WITH rewritten AS (
       UPDATE events SET bytes = $2, digest = sha256($2) WHERE subject = $1 AND subject_sequence = 2 RETURNING subject, digest)
     UPDATE subject_heads h SET last_digest = digest FROM rewritten r WHERE h.subject = r.subject`,
    [second, forged],
  );
  const { findings } = await compareServices(pair);
  const told = findings.map(({ outcome, subject, sequence }) => `${outcome} ${subject} ${sequence}`);
  const expected = [
    ...[`different ${first} 2`, `different ${second} 2`, "different policy/permit 1"],
    // What is damaged beyond telling its name is known by its id alone.
    ...[`missing ${subjectId("policy/zoning")} 1`, "unexpected policy/zoning 1"],
  ];
  expect(told.toSorted()).toEqual(expected.toSorted());
});

test("what waits for its delivery, or was given up, is pending and no fault", async () => {
  await using audit = await startAuditService();
  await using cases = await startCaseService({ issuer: audit.issuer, config: { relay: "off" } });
  const caseId = await openCase(cases, "submitted");
  await setPolicy(cases, "permit");
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  await superuser.query(
    `WITH taken AS (DELETE FROM outbox WHERE case_id = $1 AND version = 1 RETURNING *)
     INSERT INTO dead_letters (tenant_id, event_id, case_id, version, reason, detail, dead_at)
     SELECT tenant_id, event_id, case_id, version, 'REASON', '', now() FROM taken`,
    [caseId],
  );
  const { findings, totals } = await compareServices({ cases, audit }, { repair: true });
  const told = findings.map(({ subject, sequence, detail }) => `${subject} ${sequence} ${detail}`);
  const expected = [`${caseId} 1 dead letter`, `${caseId} 2 `, "policy/permit 1 "];
  expect(told.toSorted()).toEqual(expected.toSorted());
  expect(totals).toEqual({ ...none, entries: 3, events: 0, pending: 3 });
});

test("a tombstone stands for the entry whose digest it names, and for no other", async () => {
  await using audit = await startAuditService();
  await using cases = await startCaseService({ issuer: audit.issuer, config: { relay: "off" } });
  const [skipped, other] = [await openCase(cases), await openCase(cases)];
  const admin = await cases.admin();
  const { entries } = await admin.listEntryDigests({});
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  await superuser.query("DELETE FROM outbox");
  const original = entries.find(({ subject }) => subject === skipped)!;
  const tombstone = {
    originalDigest: original.eventDigest,
    originalEventId: original.eventId,
    reason: "it cannot be told",
  };
  const relay = await audit.source(["caseflow/case"]);
  const tombstones = [skipped, other].map((subject) =>
    makeEvent({ source: "caseflow/case", tenantId: tenant, subject, tombstone }),
  );
  await relay.recordEvents({ events: tombstones.map(({ bytes }) => bytes) });
  const { findings } = await compareServices({ cases, audit });
  expect(findings).toMatchObject([{ outcome: "different", subject: other, sequence: 1 }]);
});

test("an audited subject that no case and no policy has is unexpected, whatever its name and wherever it sorts", async () => {
  await using pair = await startPair();
  const caseId = await fill(pair.cases);
  await untilDelivered(pair.cases.database);
  const policyId = subjectId("policy/permit");
  const names = [
    ...["!", "zz", "é", "\u{e000}", "\u{10000}", "a\nmissing", "policy/", "policy/none", "Policy/permit"],
    // Beside what is there, and an id that is no name.
    ...[caseId.toUpperCase(), caseId.slice(0, -1), `${caseId}-`, policyId, `${policyId}-`],
  ];
  const forger = await pair.audit.source(["caseflow/case"]);
  const forged = names.map((subject) => makeEvent({ source: "caseflow/case", tenantId: tenant, subject }));
  await forger.recordEvents({ events: forged.map(({ bytes }) => bytes) });
  const { told, reads } = await compareServices(pair);
  expect(told).toEqual(forged.map(({ subject, eventId }) => `unexpected ${subject} 1 ${eventId}`).toSorted());
  expect(reads, "of the forged and of two policies, and of no case").toBe(names.length + 2);
  const { exit, stdout } = await run(pair, "--repair");
  expect(exit).toBe(3);
  const lines = stdout.trimEnd().split("\n");
  expect(lines, "no name makes a line of its own").toHaveLength(names.length + 1);
  expect(lines[0]).toBe(`unexpected  !${" ".repeat(35)}       1  ${forged[0]!.eventId}`);
});

test("over several pages of either side each subject is compared once", async () => {
  await using audit = await startAuditService();
  await using cases = await startCaseService({ issuer: audit.issuer, config: { relay: "off" } });
  await using ofCases = await openSuperuser(cases.database.superuserUrl);
  await fillWithManyCases(ofCases, { [tenant]: 1_300 });
  const { rows } = await ofCases.query<{ id: string; last: number }>(
    "SELECT case_id::text AS id, version AS last FROM cases ORDER BY case_id",
  );
  // Every 97th lacks its head, and all its events with it. The other heads agree.
  const audited = rows.filter((_, index) => index % 97 !== 0);
  const lost = rows.filter((_, index) => index % 97 === 0);
  await using ofAudit = await openSuperuser(audit.database.superuserUrl);
  await ofAudit.query(
    `INSERT INTO subject_heads (tenant_id, source, subject, last_sequence, last_digest)
     SELECT $1, 'caseflow/case', subject, last, sha256('event') FROM unnest($2::text[], $3::integer[]) AS head (subject, last)`,
    [tenant, audited.map(({ id }) => id), audited.map(({ last }) => last)],
  );
  const { rows: expected } = await ofCases.query<{ told: string }>(
    `SELECT concat_ws(' ', CASE WHEN o.event_id IS NULL AND d.event_id IS NULL THEN 'missing' ELSE 'pending' END,
                      e.case_id, e.version, e.event_id) AS told
       FROM audit_entries e LEFT JOIN outbox o USING (event_id) LEFT JOIN dead_letters d USING (event_id)
      WHERE e.case_id = ANY ($1)`,
    [lost.map(({ id }) => id)],
  );
  const { told, totals, reads } = await compareServices({ cases, audit });
  expect(reads, "of what lacks its head, and of nothing else").toBeLessThanOrEqual(lost.length);
  expect(told).toEqual(expected.map((row) => row.told).toSorted());
  const sum = (of: typeof rows) => of.reduce((count, { last }) => count + last, 0);
  expect(totals).toMatchObject({ entries: sum(rows), events: sum(audited) });
  expect(totals.missing).toBeGreaterThan(lost.length / 2);
});

test("whatever is written, delivered and acknowledged between two reads, nothing is reported but what waits", async () => {
  await using audit = await startAuditService();
  await using cases = await startCaseService({ issuer: audit.issuer, config: { relay: "off" } });
  const relay = await audit.source(["caseflow/case"]);
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  const caseId = await openCase(cases);
  const write = async () => {
    await rename(cases, caseId, "once more");
    await setPolicy(cases, "permit");
  };
  const deliver = async () => {
    const { rows } = await superuser.query<{ event: Buffer }>(
      "SELECT event FROM outbox JOIN audit_entries USING (tenant_id, event_id) ORDER BY event_id",
    );
    if (rows.length > 0) await relay.recordEvents({ events: rows.map(({ event }) => event) });
    await superuser.query("DELETE FROM outbox");
  };
  const steps = [write, deliver, async () => {}];
  // Every way to take three steps, after the first three answers, and over again.
  for (let way = 0; way < 27; way++) {
    await write();
    let answers = 0;
    const step = () => steps[Math.floor(way / 3 ** (answers++ % 3)) % 3]!();
    const { findings } = await compareServices({ cases, audit }, { onAnswer: step });
    expect(
      findings.filter(({ outcome }) => outcome !== "pending"),
      `way ${way}`,
    ).toEqual([]);
  }
});

test("while twenty writers go on nothing is reported but what waits, and afterwards every entry and event has been counted", async () => {
  await using pair = await startPair();
  const { cases } = pair;
  const done = new AbortController();
  const write = async (writer: number): Promise<void> => {
    const caseId = await openCase(cases);
    await rename(cases, caseId, `writer ${writer}`);
    await openCase(cases, "submitted");
    await setPolicy(cases, `type_${writer}`);
  };
  const writers = Promise.all(Array.from({ length: 20 }, (_, writer) => write(writer)));
  const written = writers.finally(() => done.abort());
  for (let runs = 0; runs < 2 || !done.signal.aborted; runs++) {
    const { findings } = await compareServices(pair);
    expect(findings.filter(({ outcome }) => outcome !== "pending")).toEqual([]);
  }
  await written;
  await untilDelivered(cases.database);
  const count = (await auditedBy(pair)).length;
  expect(await compareServices(pair)).toMatchObject({ told: [], totals: { entries: count, events: count } });
});

test("what it cannot do it says, before it compares anything", async () => {
  await using pair = await startPair({ relay: "off" });
  const token = await reconcilerToken(pair, ["auditor"]);
  const settings = { CASE_URL: pair.cases.url, AUDIT_URL: pair.audit.url, CASEFLOW_TOKEN: token };
  const outcomeOf = (env: Readonly<Record<string, string>>, ...args: string[]) =>
    createProgram(readConfig(env))
      .parseAsync(["reconcile", ...args], { from: "user" })
      .then(() => "done", String);
  expect(await outcomeOf(settings, "--repair")).toContain("the token has no role operator");
  const { AUDIT_URL: _, ...half } = settings;
  expect(await outcomeOf(half)).toContain("set both CASE_URL and AUDIT_URL");
  expect(await outcomeOf({ ...settings, AUDIT_URL: "http://127.0.0.1:1" })).toContain("[unavailable]");
  expect(await outcomeOf(settings, "--repiar")).toContain("unknown option '--repiar'");
});
