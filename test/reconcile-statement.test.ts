import { stat } from "node:fs/promises";
import { randomUUID } from "node:crypto";
import { v7 } from "uuid";
import { expect, test } from "vitest";
import type { AuditClient } from "#libs/client/audit-client.ts";
import type { AuditedEvent } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { ActorKind } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { readConfig } from "#services/cli/config.ts";
import { createProgram } from "#services/cli/main.ts";
import { content, openCase, setPolicy, tenant, type CaseServiceFixture } from "./support/case-service.ts";
import { commandInProcess } from "./support/command-in-process.ts";
import { makeEvent } from "./support/events.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { sha256 } from "./support/made-log.ts";
import { makeReconciliation, makeStatements } from "./support/made-statements.ts";
import { listAllEvents } from "./support/pair.ts";
import { untilSealed } from "./support/signing.ts";
import { recordBetween, startStatementStage, statedBy, type StatementStage } from "./support/statements.ts";
import { openSuperuser } from "./support/superuser.ts";
import { untilDelivered } from "./support/until-delivered.ts";

expectNoLeaks();

/* `caseflow reconcile --record`: what both services agree on, stated in the log. */

async function rename(cases: CaseServiceFixture, caseId: string, title: string): Promise<void> {
  const caseworker = await cases.as("caseworker");
  const [requestId, updateMask] = [randomUUID(), { paths: ["title"] }];
  await caseworker.updateCase({ requestId, caseId, content: { ...content, title }, updateMask });
}

/** Cases and policies, all of them delivered and sealed; returns the first case, which has two versions. */
async function fill({ cases, audit }: StatementStage): Promise<string> {
  const caseId = await openCase(cases);
  await rename(cases, caseId, "once more");
  await openCase(cases, "approved");
  await setPolicy(cases, "permit");
  await untilDelivered(cases.database);
  await untilSealed(await audit.auditor());
  return caseId;
}

const record = ({ env, folder, vkey }: StatementStage, name: string, ...args: readonly string[]) =>
  commandInProcess(["reconcile", "--record", folder.path(name), "--vkey", vkey, ...args], env);

/** What `caseflow verify` says of the whole log, as it is exported. */
async function verifyLog({ env, folder, vkey, audit }: StatementStage) {
  await untilSealed(await audit.auditor());
  const path = folder.path(`${randomUUID()}.ndjson`);
  await commandInProcess(["log", "export", "--out", path], env);
  return commandInProcess(["verify", path, "--vkey", vkey]);
}

const bytesBelow = (events: readonly AuditedEvent[], size: bigint) =>
  events.slice(0, Number(size)).map(({ eventBytes }) => eventBytes);

test("what two services agree on is stated in the log, and its file proves it to anybody with the key", async () => {
  await using stage = await startStatementStage();
  await fill(stage);
  const before = await listAllEvents(stage.audit.url, stage.cases.issuer);
  const { exit, stdout, stderr } = await record(stage, "first.tlog-proof", "--json");
  expect(exit, stderr).toBe(0);
  const { statement } = JSON.parse(stdout) as { statement: Record<string, unknown> };
  const size = before.length;
  expect(statement).toMatchObject({ leafIndex: size, treeSize: size, entryCount: size });

  const [stated, ...others] = await stage.statements();
  expect(others).toEqual([]);
  expect(stated!.event).toMatchObject({
    ...{ eventId: statement["eventId"], source: "caseflow/reconcile", tenantId: tenant },
    ...{ subject: "reconciliation/caseflow/case", subjectSequence: 1n },
    ...{ type: "caseflow.reconciliation.completed", schemaVersion: 1 },
    actor: { id: "reconciler", kind: ActorKind.SERVICE, roles: ["auditor", "event_source", "operator"] },
  });
  const { $typeName: _, ...told } = statedBy(stated!);
  const expected = makeReconciliation(before.map(({ eventBytes }) => eventBytes));
  expect(toText(told)).toEqual(toText(expected));

  const proved = await commandInProcess([
    "verify",
    stage.folder.path("first.tlog-proof"),
    "--vkey",
    stage.vkey,
  ]);
  expect(proved.stdout).toMatch(
    new RegExp(
      `^event=${String(statement["eventId"])} leaf=${size} .+\nstates: of the log's first ${size} events ${size} are of caseflow/case, `,
    ),
  );
  expect((await stat(stage.folder.path("first.tlog-proof"))).mode & 0o777).toBe(0o600);
  expect(await verifyLog(stage)).toMatchObject({ exit: 0 });
});

const toText = (stated: object) =>
  Object.entries(stated).map(
    ([name, value]) =>
      `${name} ${value instanceof Uint8Array ? Buffer.from(value).toString("hex") : String(value)}`,
  );

test("the digest that is stated is over what the case service itself has, also of an event that a tombstone stands in for", async () => {
  await using stage = await startStatementStage({ relay: "off" });
  const [skipped] = [await openCase(stage.cases), await openCase(stage.cases)];
  await using superuser = await openSuperuser(stage.cases.database.superuserUrl);
  const { rows } = await superuser.query<{
    case_id: string;
    event_id: string;
    event: Buffer;
    digest: Buffer;
  }>(`SELECT case_id, event_id, event, event_digest AS digest FROM audit_entries ORDER BY event_id`);
  await superuser.query("DELETE FROM outbox");
  const events = rows.map(({ case_id: subject, event_id: originalEventId, digest, event }) => {
    if (subject !== skipped) return event;
    const tombstone = { originalDigest: digest, originalEventId, reason: "it cannot be told" };
    const actor = { id: "otto", kind: ActorKind.PERSON, roles: ["operator"] };
    const place = { source: "caseflow/case", tenantId: tenant, subject, toState: "draft" };
    return makeEvent({ ...place, type: "caseflow.event.skipped", actor, tombstone }).bytes;
  });
  await (await stage.audit.source(["caseflow/case"])).recordEvents({ events });
  await untilSealed(await stage.audit.auditor());

  expect((await record(stage, "one")).exit).toBe(0);
  const [statement] = await stage.statements();
  const { entryCount, entriesDigest } = statedBy(statement!);
  const { entries } = await (await stage.cases.admin()).listEntryDigests({});
  const inOrder = entries.toSorted((one, other) => (one.eventId < other.eventId ? -1 : 1));
  expect(entryCount).toBe(BigInt(entries.length));
  expect(entriesDigest).toEqual(sha256(...inOrder.map(({ eventDigest }) => eventDigest)));
  expect(await verifyLog(stage)).toMatchObject({ exit: 0 });
});

test("behind a statement by a clock that ran ahead, ids still go up", async () => {
  await using stage = await startStatementStage();
  await fill(stage);
  const leaves = (await listAllEvents(stage.audit.url, stage.cases.issuer)).map(
    ({ eventBytes }) => eventBytes,
  );
  const state = await stage.audit.source(["caseflow/reconcile"]);
  const eventId = v7({ msecs: Date.now() + 86_400_000 });
  await state.recordEvents({ events: [makeStatements()(leaves, { eventId })] });
  const { statement } = await recordBetween(stage, stage.folder.path("second"));
  expect(statement!.eventId > eventId).toBe(true);
  expect(await verifyLog(stage)).toMatchObject({ exit: 0 });
});

interface Tampering {
  readonly exit: number;
  readonly told: RegExp;
  readonly tamper: (stage: StatementStage, caseId: string) => Promise<void>;
}

test.each<[name: string, tampering: Tampering]>([
  [
    "an event that was lost together with its head",
    {
      exit: 3,
      told: /^missing .*missing=1 /s,
      async tamper({ audit }) {
        await using superuser = await openSuperuser(audit.database.superuserUrl);
        for (const table of ["events", "subject_heads"]) {
          await superuser.query(`DELETE FROM ${table} WHERE subject = 'policy/permit'`);
        }
      },
    },
  ],
  [
    "an event that nobody wrote",
    {
      exit: 3,
      told: /^unexpected .*unexpected=1 /s,
      async tamper({ audit }) {
        const forger = await audit.source(["caseflow/case"]);
        await forger.recordEvents({
          events: [makeEvent({ source: "caseflow/case", tenantId: tenant }).bytes],
        });
      },
    },
  ],
  [
    "an entry that was rewritten behind a head that agrees",
    {
      exit: 3,
      told: /^different .*different=1 /s,
      async tamper({ cases }, caseId) {
        await using superuser = await openSuperuser(cases.database.superuserUrl);
        await superuser.query(
          "UPDATE audit_entries SET event = 'another', event_digest = sha256('another') WHERE case_id = $1 AND version = 1",
          [caseId],
        );
      },
    },
  ],
  [
    "an event that was rewritten behind a head that agrees",
    {
      exit: 11,
      told: /root/,
      async tamper({ audit }, caseId) {
        await using superuser = await openSuperuser(audit.database.superuserUrl);
        const forged = makeEvent({ source: "caseflow/case", tenantId: tenant, subject: caseId }).bytes;
        await superuser.query(
          "UPDATE events SET bytes = $2, digest = sha256($2) WHERE subject = $1 AND subject_sequence = 1",
          [caseId, forged],
        );
      },
    },
  ],
  [
    "an event that was taken out behind a head that agrees",
    {
      exit: 1,
      told: /caseflow: /,
      async tamper({ audit }, caseId) {
        await using superuser = await openSuperuser(audit.database.superuserUrl);
        await superuser.query("DELETE FROM events WHERE subject = $1 AND subject_sequence = 1", [caseId]);
      },
    },
  ],
])("with %s nothing is stated", async (_, { exit, told, tamper }) => {
  await using stage = await startStatementStage();
  const caseId = await fill(stage);
  await tamper(stage, caseId);
  const ended = await record(stage, "none.tlog-proof");
  expect(ended.stdout + ended.stderr).toMatch(told);
  expect(ended.exit).toBe(exit);
  expect(await countStatements(stage)).toBe(0);
  await expect(stat(stage.folder.path("none.tlog-proof"))).rejects.toThrow("ENOENT");
});

/** Past the service, which gives no answer about events that were tampered with. */
async function countStatements({ audit }: StatementStage): Promise<number> {
  await using superuser = await openSuperuser(audit.database.superuserUrl);
  return (await superuser.query("SELECT FROM events WHERE source = 'caseflow/reconcile'")).rowCount ?? 0;
}

/** Does something once, before the first call of this method. */
function beforeFirst(
  audit: AuditClient,
  method: "getCheckpoint" | "recordEvents",
  act: () => Promise<unknown>,
): AuditClient {
  let acted: Promise<unknown> | undefined;
  const first = () => (acted ??= act());
  return {
    ...audit,
    ...(method === "getCheckpoint"
      ? { getCheckpoint: async (...asked) => first().then(() => audit.getCheckpoint(...asked)) }
      : { recordEvents: async (...asked) => first().then(() => audit.recordEvents(...asked)) }),
  };
}

test("an event that is forged once the heads were compared is found in the log, and nothing is stated", async () => {
  await using stage = await startStatementStage();
  await fill(stage);
  const forger = await stage.audit.source(["caseflow/case"]);
  const forged = makeEvent({
    ...{ source: "caseflow/case", tenantId: tenant, type: "caseflow.delivery.redriven", subject: "forged" },
  });
  const forge = () => forger.recordEvents({ events: [forged.bytes] });
  const file = stage.folder.path("none");
  const { findings, totals, statement } = await recordBetween(stage, file, (audit) =>
    beforeFirst(audit, "getCheckpoint", forge),
  );
  expect(findings).toMatchObject([{ outcome: "unexpected", subject: "forged", eventId: forged.eventId }]);
  expect(totals).toMatchObject({ unexpected: 1, missing: 0, different: 0 });
  expect(statement).toBeUndefined();
  expect(await countStatements(stage)).toBe(0);
});

test("a head that was forged for what was lost does not hide it: the log itself lacks it", async () => {
  await using stage = await startStatementStage({ relay: "off" });
  const relay = await stage.audit.source(["caseflow/case"]);
  const lost = await openCase(stage.cases);
  await using ofCases = await openSuperuser(stage.cases.database.superuserUrl);
  await using ofAudit = await openSuperuser(stage.audit.database.superuserUrl);
  await relay.recordEvents({
    events: [makeEvent({ source: "caseflow/case", tenantId: tenant, subject: "delivery" }).bytes],
  });
  await ofAudit.query("DELETE FROM subject_heads");
  const { rows } = await ofCases.query<{ event_id: string; event_digest: Buffer }>(
    "DELETE FROM outbox USING audit_entries e WHERE e.event_id = outbox.event_id RETURNING e.event_id, e.event_digest",
  );
  await ofAudit.query(
    `INSERT INTO subject_heads (tenant_id, source, subject, last_sequence, last_digest) VALUES ($1, 'caseflow/case', $2, 1, $3)`,
    [tenant, lost, rows[0]!.event_digest],
  );
  await untilSealed(await stage.audit.auditor());
  const ended = await record(stage, "none");
  expect(ended.stdout).toContain(`missing     ${lost}`);
  expect(ended.exit).toBe(3);
  expect(await countStatements(stage)).toBe(0);
});

test("while eight writers go on every statement is true of the entries up to its size, and has all that were delivered before it", async () => {
  await using stage = await startStatementStage();
  await fill(stage);
  const { cases } = stage;
  const done = new AbortController();
  const write = async (writer: number): Promise<void> => {
    for (let round = 0; round < 2; round++) {
      const caseId = await openCase(cases);
      await rename(cases, caseId, `writer ${writer}`);
      await openCase(cases, "submitted");
      await setPolicy(cases, `type_${writer}`);
    }
  };
  const writers = Promise.all(Array.from({ length: 8 }, (_, writer) => write(writer)));
  const written = writers.finally(() => done.abort());
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  const deliveredBefore: string[][] = [];
  while (deliveredBefore.length < 2 || !done.signal.aborted) {
    const { rows } = await superuser.query<{ event_id: string }>(
      "SELECT event_id FROM audit_entries WHERE event_id NOT IN (SELECT event_id FROM outbox)",
    );
    deliveredBefore.push(rows.map((row) => row.event_id));
    const { exit, stdout, stderr } = await record(stage, "newest");
    expect(exit, stdout + stderr).toBe(0);
  }
  await written;
  await untilDelivered(cases.database);

  const events = await listAllEvents(stage.audit.url, cases.issuer);
  const statements = await stage.statements();
  expect(statements).toHaveLength(deliveredBefore.length);
  for (const [at, statement] of statements.entries()) {
    const stated = statedBy(statement);
    expect(toText(stated)).toEqual(
      expect.arrayContaining(toText(makeReconciliation(bytesBelow(events, stated.treeSize)))),
    );
    const below = new Set(events.slice(0, Number(stated.treeSize)).map(({ event }) => event!.eventId));
    expect(deliveredBefore[at]!.filter((eventId) => !below.has(eventId))).toEqual([]);
  }
  const { rows } = await superuser.query<{ digest: string }>(
    "SELECT encode(event_digest, 'hex') AS digest FROM audit_entries",
  );
  const digests = new Set(rows.map(({ digest }) => digest));
  const audited = events.filter(({ event }) => event!.source === "caseflow/case");
  expect(audited.filter(({ digest }) => !digests.has(Buffer.from(digest).toString("hex")))).toEqual([]);
  expect(await verifyLog(stage)).toMatchObject({ exit: 0 });
}, 60_000);

test("what was delivered a moment ago is in the statement, which waits for its checkpoint", async () => {
  await using stage = await startStatementStage();
  await fill(stage);
  const entryCounts: (number | undefined)[] = [];
  for (let round = 0; round < 4; round++) {
    await openCase(stage.cases);
    await untilDelivered(stage.cases.database);
    const { statement } = await recordBetween(stage, stage.folder.path("newest"));
    entryCounts.push(statement?.entryCount);
  }
  const [first = 0] = entryCounts;
  expect(entryCounts).toEqual([first, first + 1, first + 2, first + 3]);
});

test("what waits for its delivery is no fault, and is in the first statement after it has arrived", async () => {
  await using stage = await startStatementStage({ relay: "off" });
  const relay = await stage.audit.source(["caseflow/case"]);
  await using superuser = await openSuperuser(stage.cases.database.superuserUrl);
  const deliver = async (): Promise<void> => {
    const { rows } = await superuser.query<{ event: Buffer }>(
      "SELECT event FROM outbox JOIN audit_entries USING (tenant_id, event_id) ORDER BY event_id",
    );
    await relay.recordEvents({ events: rows.map(({ event }) => event) });
    await superuser.query("DELETE FROM outbox");
    await untilSealed(await stage.audit.auditor());
  };
  const caseId = await openCase(stage.cases);
  await deliver();
  await rename(stage.cases, caseId, "once more");
  await openCase(stage.cases);
  const early = await recordBetween(stage, stage.folder.path("early"));
  expect(early.totals).toMatchObject({ entries: 3, missing: 0, pending: 2 });
  expect(early.statement).toMatchObject({ entryCount: 1, treeSize: 1 });
  await deliver();
  const late = await recordBetween(stage, stage.folder.path("late"));
  expect(late.statement).toMatchObject({ entryCount: 3, treeSize: 4 });
  expect(await verifyLog(stage)).toMatchObject({ exit: 0 });
});

test("a run that another one overtakes compares again, and states behind the other's", async () => {
  await using stage = await startStatementStage();
  await fill(stage);
  const overtake = () => recordBetween(stage, stage.folder.path("other"));
  const slow = await recordBetween(stage, stage.folder.path("slow"), (audit) =>
    beforeFirst(audit, "recordEvents", overtake),
  );
  const [first, second, ...others] = await stage.statements();
  expect(others).toEqual([]);
  expect(second!.event).toMatchObject({ eventId: slow.statement!.eventId, subjectSequence: 2n });
  expect(second!.event!.previousDigest).toEqual(first!.digest);
  expect(statedBy(second!).treeSize).toBe(first!.leafIndex + 1n);
  expect(await verifyLog(stage)).toMatchObject({ exit: 0 });
  for (const name of ["other", "slow"]) {
    const proved = await commandInProcess(["verify", stage.folder.path(name), "--vkey", stage.vkey]);
    expect(proved.exit).toBe(0);
  }
});

test("a run that is overtaken again and again gives up, and what the others stated stands", async () => {
  await using stage = await startStatementStage();
  await fill(stage);
  const always = (audit: AuditClient): AuditClient => ({
    ...audit,
    recordEvents: async (...asked) => {
      await recordBetween(stage, stage.folder.path("other"));
      return audit.recordEvents(...asked);
    },
  });
  await expect(recordBetween(stage, stage.folder.path("none"), always)).rejects.toThrow(/5 times/);
  const statements = await stage.statements();
  expect(statements.map(({ event }) => event!.subjectSequence)).toEqual([1n, 2n, 3n, 4n, 5n]);
  expect(await verifyLog(stage)).toMatchObject({ exit: 0 });
}, 60_000);

test("three runs at once all state the same, one behind the other", async () => {
  await using stage = await startStatementStage();
  await fill(stage);
  const names = ["a", "b", "c"];
  const runs = await Promise.all(names.map((name) => recordBetween(stage, stage.folder.path(name))));
  expect(new Set(runs.map(({ statement }) => statement?.entryCount)).size).toBe(1);
  const statements = await stage.statements();
  expect(statements.map(({ event }) => event!.subjectSequence)).toEqual([1n, 2n, 3n]);
  expect(await verifyLog(stage)).toMatchObject({ exit: 0 });
});

test("who may not state it is told before anything is compared", async () => {
  await using stage = await startStatementStage({ relay: "off" });
  const outcomeOf = async (roles: readonly string[], sources: readonly string[]) => {
    const token = await stage.cases.issuer.token({ tenant, sub: "reconciler", roles, sources });
    return createProgram(readConfig({ ...stage.env, CASE_URL: "http://127.0.0.1:1", CASEFLOW_TOKEN: token }))
      .parseAsync(["reconcile", "--record", stage.folder.path("none")], { from: "user" })
      .then(() => "done", String);
  };
  expect(await outcomeOf(["event_source"], ["caseflow/reconcile"])).toContain("no role auditor");
  expect(await outcomeOf(["auditor"], ["caseflow/reconcile"])).toContain("with role event_source");
  expect(await outcomeOf(["auditor", "event_source"], ["caseflow/case"])).toContain("with role event_source");
});
