import { createHash } from "node:crypto";
import type { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Statement } from "#libs/pg/statement.ts";
import { deliveryId } from "#services/case/application/delivery-subject.ts";
import { laneOf } from "#services/case/domain/lane.ts";
import { findAppliedRequest } from "#services/case/store/answers.ts";
import { listCases, loadCase, toStoredCase, type CaseFilter } from "#services/case/store/cases.ts";
import { findChange, listChanges } from "#services/case/store/changes.ts";
import { listEntryDigests } from "#services/case/store/entry-digests.ts";
import { findDeadLetter, findDeadLetters, listDeadLetters } from "#services/case/store/dead-letters.ts";
import { listEntries } from "#services/case/store/history.ts";
import { beforeEveryEvent, pendingEvents } from "#services/case/store/outbox.ts";
import { findEntries, saveRequeue } from "#services/case/store/requeue.ts";
import type { Attack } from "./support/attack-statements.ts";
import { caseAttacks } from "./support/attack-case-statements.ts";
import { cloneCaseDatabase } from "./support/databases.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { fillWithManyCases, tenants, type TenantName } from "./support/many-cases.ts";
import { effortOf, nodesOf, type Effort } from "./support/query-effort.ts";
import { openSuperuser } from "./support/superuser.ts";

expectNoLeaks();

/* Each statement, run as the application runs it, on 100,000 cases: how many pages and rows it visits. */

const stack = new AsyncDisposableStack();
let client: Client;
/** 500 of each tenant's events, or all that it has. */
const eventIds: Record<string, string[]> = {};
/** Some of each tenant's, by event id. */
let deadLetters: ReadonlyMap<string, readonly { readonly event_id: string; readonly case_id: string }[]>;

beforeAll(async () => {
  const database = stack.use(await cloneCaseDatabase());
  client = stack.use(await openSuperuser(database.superuserUrl));
  await fillWithManyCases(client);
  for (const tenant of tenants) {
    const { rows } = await client.query<{ event_id: string }>(
      "SELECT event_id FROM audit_entries WHERE tenant_id = $1 ORDER BY event_id LIMIT 500",
      [tenant],
    );
    eventIds[tenant] = rows.map((row) => row.event_id);
  }
  const { rows } = await client.query<{ tenant_id: string; event_id: string; case_id: string }>(
    `SELECT tenant_id, event_id, case_id FROM
       (SELECT *, row_number() OVER (PARTITION BY tenant_id ORDER BY event_id) AS place FROM dead_letters) d
      WHERE place <= 500 ORDER BY event_id`,
  );
  deadLetters = Map.groupBy(rows, (row) => row.tenant_id);
  await client.query(firstActs, [deliveryId]);
}, 120_000);
afterAll(() => stack.disposeAsync());

/** An act on delivery of each tenant's, behind which the next ones are. */
const firstActs = `
  INSERT INTO audit_entries (tenant_id, case_id, version, action, to_state, principal_id, request_id, event_id, event, event_digest, recorded_at)
  SELECT DISTINCT ON (tenant_id) tenant_id, $1::uuid, 1, 'redrive', 'attended', 'operator', gen_random_uuid(), gen_random_uuid(), 'event', sha256('event'), now()
    FROM cases`;

const pageSize = 51;
const bytesMax = 3 * 1024 * 1024;
const caseId = "00000000-0000-7000-8000-000000000032";
/** A draft of every tenant. */
const draftId = "00000000-0000-7000-8000-000000000004";
const eventId = "00000000-0000-0000-0000-000000000000";
const everyDeadLetter = { caseId: undefined, eventId: undefined };
const all: CaseFilter = {
  states: [],
  caseType: "",
  assignedReviewerId: "",
  creatorId: "",
  externalReference: "",
  changedSince: undefined,
};

const list = (filter: Partial<CaseFilter>, beforeId?: string) => (tenant: string) =>
  listCases(tenant, { ...all, ...filter }, beforeId, pageSize, bytesMax);

function requeueOf(tenantId: string): Parameters<typeof saveRequeue>[0] {
  const first = createHash("sha256").update(tenantId).digest();
  const request = { principalId: "operator", requestId: eventId, requestHash: first, answer: first };
  return {
    ...{ tenantId, eventIds: eventIds[tenantId]!, lane: laneOf(first), ...request },
    answerExpiresAt: new Date(),
  };
}

/**
 * A page costs its rows (each with entry, content and approvals) and the way down a few indexes, or, where the planner thinks
 * them few, all cases that fit. The largest tenant, read whole, is 80,000 rows.
 */
const pageBuffers = 15_000;
const pageRows = 20_000;
const oneBuffers = 40;
const oneRows = 20;
/** A write goes down every index of six tables. */
const writeBuffers = 250;
const writeRows = 40;

const someDead = (tenant: string) => deadLetters.get(tenant)!;

const pages: readonly [string, (tenant: string) => Statement][] = [
  ["every case", list({})],
  ["every case, from the middle", list({}, caseId)],
  ["a common state", list({ states: ["closed"] })],
  ["a rare state", list({ states: ["submitted"] })],
  ["a state that no case is in", list({ states: ["appealed"] })],
  ["several states", list({ states: ["submitted", "under_review"] })],
  ["a common type", list({ caseType: "permit" })],
  ["an unknown type", list({ caseType: "unknown" })],
  ["a reviewer with little to do", list({ assignedReviewerId: "reviewer-1" })],
  ["a reviewer with much to do", list({ assignedReviewerId: "reviewer-3" })],
  ["a creator", list({ creatorId: "creator-1" })],
  ["an unknown creator", list({ creatorId: "nobody" })],
  ["an external reference", list({ externalReference: "ref-50" })],
  ["a reviewer and a state", list({ assignedReviewerId: "reviewer-1", states: ["under_review"] })],
  ["the last few changed", list({ changedSince: new Date("2026-01-01T22:12:20Z") })],
  [
    "the first changes",
    (tenant) => listChanges(tenant, { committedIn: "0", caseId: eventId, version: 0 }, 100, bytesMax),
  ],
  [
    "the first digests",
    (tenant) => listEntryDigests(tenant, undefined, { caseId: eventId, version: 0 }, 501),
  ],
  [
    "the digests from the middle",
    (tenant) => listEntryDigests(tenant, undefined, { caseId, version: 1 }, 501),
  ],
  ["a subject's digests", (tenant) => listEntryDigests(tenant, caseId, { caseId: eventId, version: 0 }, 501)],
  ["500 events' entries", (tenant) => findEntries(tenant, eventIds[tenant]!)],
  ["500 entries to queue", (tenant) => saveRequeue(requeueOf(tenant))],
  [
    "the first dead letters",
    (tenant) => listDeadLetters(tenant, everyDeadLetter, eventId, pageSize, bytesMax),
  ],
  [
    "dead letters behind another",
    (tenant) => listDeadLetters(tenant, everyDeadLetter, someDead(tenant)[9]!.event_id, pageSize, bytesMax),
  ],
  [
    "500 dead letters to be redriven",
    (tenant) =>
      findDeadLetters(
        tenant,
        someDead(tenant).map((row) => row.event_id),
        deliveryId,
      ),
  ],
  ["a history", (tenant) => listEntries(tenant, caseId, 0, pageSize)],
];

const single: readonly [string, (tenant: string) => Statement][] = [
  ["a case", (tenant) => loadCase(tenant, caseId)],
  ["a request id", (tenant) => findAppliedRequest(tenant, "creator-1", eventId, new Date())],
  [
    "the dead letter of a case",
    (tenant) => {
      const filter = { ...everyDeadLetter, caseId: someDead(tenant)[9]!.case_id };
      return listDeadLetters(tenant, filter, eventId, pageSize, bytesMax);
    },
  ],
  [
    "a dead letter by its event",
    (tenant) => {
      const filter = { ...everyDeadLetter, eventId: someDead(tenant)[9]!.event_id };
      return listDeadLetters(tenant, filter, eventId, pageSize, bytesMax);
    },
  ],
  [
    "a dead letter to be skipped",
    (tenant) => findDeadLetter(tenant, someDead(tenant)[9]!.event_id, deliveryId),
  ],
  ["an entry", (tenant) => findChange(tenant, { committedIn: "0", caseId, version: 1 }, eventId)],
];

test.each(pages)(
  "a page of %s takes no more than a page's effort, whatever the tenant's size",
  async (name, make) => {
    for (const tenant of tenants)
      await expectEffort(tenant, name, make, { buffers: pageBuffers, rows: pageRows });
  },
);

test.each(single)("%s is found in a few pages, whatever the tenant's size", async (name, make) => {
  for (const tenant of tenants)
    await expectEffort(tenant, name, make, { buffers: oneBuffers, rows: oneRows });
});

/** Every statement of the application that writes, for a draft of the tenant. */
async function writesOf(tenant: string): Promise<readonly Attack[]> {
  const { text, values } = loadCase(tenant, draftId);
  const { rows } = await client.query(text, [...values]);
  const draft = toStoredCase(rows[0]).case;
  const lane = laneOf(createHash("sha256").update(tenant).digest());
  const ids = { principalId: draft.creatorId, requestId: eventId, eventId, deliveredEventId: eventId };
  const deadEventId = someDead(tenant)[9]!.event_id;
  const attacks = caseAttacks({ draft, ...ids, deadEventId, lane });
  return attacks.filter(({ name }) => /^(save|redrive|skip)/.test(name));
}

test("every write, an erasure and one by somebody who spoke before among them, takes little, whatever the tenant's size", async () => {
  for (const tenant of tenants) {
    const max = { buffers: writeBuffers, rows: writeRows };
    for (const { name, make } of await writesOf(tenant)) await expectEffort(tenant, name, make, max);
  }
});

test("a plan of a write made while the tables are empty reads nothing by its tenant alone", async () => {
  await using empty = await cloneCaseDatabase();
  await using young = await openSuperuser(empty.superuserUrl);
  await young.query("SET ROLE case_app");
  for (const { name, make } of await writesOf("tiny")) {
    const { rows } = await young.query(`EXPLAIN (GENERIC_PLAN, FORMAT JSON) ${make("tiny").text}`);
    for (const { "Node Type": type, "Index Cond": found = "" } of nodesOf(rows[0]["QUERY PLAN"][0].Plan)) {
      expect(type, name).not.toMatch(/^(Seq|Bitmap Heap) Scan$/);
      if (type.startsWith("Index"))
        expect(found, name).toMatch(/tenant_id.* AND .*(case_id|request_id|event_id)/);
    }
  }
});

test("a plan made while the tables are empty finds each waiting event's entry by its key", async () => {
  await using empty = await cloneCaseDatabase();
  await using young = await openSuperuser(empty.superuserUrl);
  await young.query("SET ROLE case_relay");
  const { text } = pendingEvents(0, "tiny", beforeEveryEvent, pageSize, bytesMax);
  const { rows } = await young.query(`EXPLAIN (GENERIC_PLAN, FORMAT JSON) ${text}`);
  const found = nodesOf(rows[0]["QUERY PLAN"][0].Plan).filter(
    (node) => node["Relation Name"] === "audit_entries",
  );
  expect(found.map((node) => node["Index Cond"])).toEqual([
    expect.stringMatching(/tenant_id.* AND .*case_id.* AND .*version/),
  ]);
});

test("a plan made while the tables are empty looks a case up by its key, in writes and foreign keys too", async () => {
  await using empty = await cloneCaseDatabase();
  await using young = await openSuperuser(empty.superuserUrl);
  await young.query("SET plan_cache_mode = force_generic_plan");
  await young.query(`
    PREPARE load (text, uuid) AS SELECT state FROM cases WHERE tenant_id = $1 AND case_id = $2;
    PREPARE save (text, uuid, integer) AS UPDATE cases SET version = $3 WHERE tenant_id = $1 AND case_id = $2 AND version = $3 - 1;
    PREPARE refer (text, uuid) AS SELECT 1 FROM ONLY cases x WHERE tenant_id = $1 AND case_id = $2 FOR KEY SHARE OF x`);
  for (const use of [
    "load ('t', gen_random_uuid())",
    "save ('t', gen_random_uuid(), 2)",
    "refer ('t', gen_random_uuid())",
  ]) {
    const { rows } = await young.query<{ "QUERY PLAN": string }>(`EXPLAIN EXECUTE ${use}`);
    const plan = rows.map((row) => row["QUERY PLAN"]).join("\n");
    expect(plan).toMatch(/using cases_(pkey|submitter\w*|review_starter) on cases/);
    expect(plan).toContain("Index Cond: ((tenant_id = $1) AND (case_id = $2))");
  }
});

async function expectEffort(
  tenant: TenantName,
  name: string,
  make: (tenant: string) => Statement,
  max: Effort,
): Promise<void> {
  const effort = await effortOf(client, "case_app", tenant, make(tenant));
  expect(effort.buffers, `buffers of ${name} for ${tenant}`).toBeLessThan(max.buffers);
  expect(effort.rows, `rows of ${name} for ${tenant}`).toBeLessThan(max.rows);
}
