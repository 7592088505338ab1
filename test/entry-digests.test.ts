import { createHash, randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CaseAdminClient } from "#libs/client/case-admin-client.ts";
import type { EntryDigest } from "#libs/gen/caseflow/cases/v1/case_admin_service_pb.ts";
import { openCase, setPolicy, startCaseService } from "./support/case-service.ts";
import { listAllEvents, startPair, type Pair } from "./support/pair.ts";
import { refusalOf } from "./support/reason-of.ts";
import { openSuperuser } from "./support/superuser.ts";
import { untilDelivered } from "./support/until-delivered.ts";

let pair: Pair;
let admin: CaseAdminClient;

beforeAll(async () => {
  pair = await startPair();
  admin = await pair.cases.admin();
  for (const stage of ["draft", "approved", "closed"] as const) await openCase(pair.cases, stage);
  for (const caseType of ["permit", "permit", "zoning"]) await setPolicy(pair.cases, caseType);
  await openCase(pair.cases, "draft", "neighbour");
});
afterAll(() => pair[Symbol.asyncDispose]());

type Query = Parameters<CaseAdminClient["listEntryDigests"]>[0];

async function walk(reader: CaseAdminClient, query: Query): Promise<EntryDigest[]> {
  const entries: EntryDigest[] = [];
  for (let pageToken = "", pages = 0; pages === 0 || pageToken !== ""; pages++) {
    expect(pages, "the pages end").toBeLessThan(100);
    const page = await reader.listEntryDigests({ ...query, pageToken });
    if (query.pageSize) expect(page.entries.length).toBeLessThanOrEqual(query.pageSize);
    entries.push(...page.entries);
    pageToken = page.nextPageToken;
  }
  return entries;
}

test("every entry, a policy's too, is listed once, by case and version, with subject and digest as the audit service has them", async () => {
  await untilDelivered(pair.cases.database);
  const audited = (await listAllEvents(pair.audit.url, pair.cases.issuer)).map(({ event, eventBytes }) => ({
    ...{ subject: event!.subject, version: Number(event!.subjectSequence), eventId: event!.eventId },
    digest: createHash("sha256").update(eventBytes).digest("hex"),
  }));
  const byEventId = (one: { eventId: string }, other: { eventId: string }) =>
    one.eventId < other.eventId ? -1 : 1;
  for (const pageSize of [1, 3, 500]) {
    const entries = await walk(admin, { pageSize });
    const places = entries.map(({ caseId, version }) => `${caseId} ${String(version).padStart(9, "0")}`);
    expect(places).toEqual(places.toSorted());
    const told = entries.map(({ subject, version, eventId, eventDigest }) => ({
      ...{ subject, version, eventId, digest: Buffer.from(eventDigest).toString("hex") },
    }));
    expect(told.toSorted(byEventId)).toEqual(audited.toSorted(byEventId));
    expect(entries.filter(({ pending, deadLetter }) => pending || deadLetter)).toEqual([]);
  }
});

test("one subject's entries are listed by its name, and nobody else's", async () => {
  const [first] = await walk(admin, { pageSize: 500 });
  const ofCase = await walk(admin, { subject: first!.subject, pageSize: 1 });
  expect(ofCase.map(({ version }) => version)).toEqual(ofCase.map((_, index) => index + 1));
  expect(new Set(ofCase.map(({ caseId }) => caseId))).toEqual(new Set([first!.caseId]));

  const ofPolicy = await walk(admin, { subject: "policy/permit", pageSize: 1 });
  expect(ofPolicy.map(({ subject, version }) => `${subject} ${version}`)).toEqual([
    "policy/permit 1",
    "policy/permit 2",
  ]);
  const { caseId } = ofPolicy[0]!;
  for (const subject of [
    caseId,
    first!.subject.toUpperCase(),
    "policy/unknown",
    "policy/",
    "permit",
    "a\nb",
    randomUUID(),
  ])
    expect(await walk(admin, { subject }), subject).toEqual([]);
});

test("an entry is pending while it waits in the outbox or is a dead letter, and no longer", async () => {
  await using cases = await startCaseService({ config: { relay: "off" } });
  await openCase(cases, "submitted");
  await setPolicy(cases, "permit");
  const reader = await cases.admin();
  const flags = async () =>
    (await walk(reader, { pageSize: 500 })).map(
      ({ pending, deadLetter }) => `${pending ? "pending" : "delivered"}${deadLetter ? ", dead" : ""}`,
    );
  expect(await flags()).toEqual(["pending", "pending", "pending"]);
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  await superuser.query("DELETE FROM outbox WHERE version = 2");
  expect((await flags()).toSorted()).toEqual(["delivered", "pending", "pending"]);
  await superuser.query(
    `WITH taken AS (DELETE FROM outbox RETURNING *)
     INSERT INTO dead_letters (tenant_id, event_id, case_id, version, reason, detail, dead_at)
     SELECT tenant_id, event_id, case_id, version, 'REASON', '', now() FROM taken`,
  );
  expect((await flags()).toSorted()).toEqual(["delivered", "pending, dead", "pending, dead"]);
});

test("entries are picked by when they were recorded, from a time on and before another", async () => {
  const seconds = (index: number) => BigInt(1_800_000_000 + 60 * index);
  let index = 0;
  const now = () => new Date(Number(seconds(index)) * 1_000);
  await using cases = await startCaseService({ config: { relay: "off" }, now });
  for (; index < 6; index++) await openCase(cases);
  const reader = await cases.admin();
  const all = await walk(reader, {});
  const at = (minute: number) => ({ seconds: seconds(minute) });
  const query = { recordedFrom: at(2), recordedBefore: at(4) };
  for (const pageSize of [1, 2, 500])
    expect(await walk(reader, { ...query, pageSize })).toEqual(all.slice(2, 4));
  expect(await walk(reader, { recordedFrom: at(5) })).toEqual(all.slice(5));
  expect(await walk(reader, { recordedBefore: at(1), pageSize: 1 })).toEqual(all.slice(0, 1));
});

test("a page has 50 entries at most unless a size is given, 501 are refused, and a token serves its own query and tenant", async () => {
  const { nextPageToken: pageToken } = await admin.listEntryDigests({ pageSize: 1 });
  const neighbour = await pair.cases.admin("neighbour");
  const ask = (through: CaseAdminClient, query: Query) =>
    refusalOf(through.listEntryDigests({ ...query, pageToken }));
  expect(await ask(admin, { pageSize: 7 })).toBe("accepted");
  const invalid = "InvalidArgument PAGE_TOKEN_INVALID";
  expect(await ask(neighbour, {})).toBe(invalid);
  expect(await ask(admin, { subject: "policy/permit" })).toBe(invalid);
  expect(await ask(admin, { recordedFrom: { seconds: 1n } })).toBe(invalid);
  expect(await refusalOf(admin.listEntryDigests({ pageSize: 501 }))).toBe("InvalidArgument INVALID_REQUEST");
  const entries = await walk(neighbour, {});
  expect(entries.map(({ version }) => version)).toEqual([1]);
});
