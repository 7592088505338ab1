import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { v7 } from "uuid";
import { createEventJudge } from "#services/cli/verify/judge-events.ts";
import { findBreak } from "#services/local/audit-trail.ts";
import { deliveryId } from "#services/case/application/delivery-subject.ts";
import { openCase, setPolicy, tenant } from "./support/case-service.ts";
import { compareServices } from "./support/compare-services.ts";
import { startDeadLetterStage, type DeadLetterStage } from "./support/dead-letters.ts";
import { makeEvent } from "./support/events.ts";
import { expectNoLeaks } from "./support/leak-check.ts";
import { refusalOf } from "./support/reason-of.ts";
import { rowDigests } from "./support/row-digests.ts";
import { openWatch } from "./support/watcher.ts";

/* What operators do about events that were given up. Each test has a tenant of its own. */

expectNoLeaks();

let stage: DeadLetterStage;
beforeAll(async () => {
  stage = await startDeadLetterStage();
});
afterAll(() => stage?.[Symbol.asyncDispose]());

const reason = "the id was taken by another source, see ticket 7";
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
let tenants = 0;
const newTenant = () => `dead-${++tenants}`;
const request = (eventId: string) => ({ requestId: randomUUID(), eventId, reason });

/** A case of so many events, of which the one at `version` will be refused for its id. */
async function openDoomedCase(of: string, version: number): Promise<{ caseId: string; eventId: string }> {
  const caseId = await openCase(stage.cases, "assigned", of); // Three events.
  const eventId = await stage.eventIdOf(caseId, version);
  await stage.takeId(eventId, of);
  return { caseId, eventId };
}

test("a skip puts a tombstone in the event's place; the case goes on behind it in order, and other cases never waited", async () => {
  const of = newTenant();
  const admin = await stage.cases.admin(of);
  const { caseId, eventId } = await openDoomedCase(of, 2);
  await using _relay = await stage.startRelay();
  await stage.untilDead(`${caseId} 2 EVENT_ID_REUSED`);
  const other = await openCase(stage.cases, "closed", of);
  await expect.poll(async () => (await stage.trailOf(other, of)).length).toBe(6);
  expect(await stage.trailOf(caseId, of)).toHaveLength(1);

  const requestId = randomUUID();
  const { tombstoneEventId } = await admin.skipDeadLetter({ requestId, eventId, reason });
  await stage.untilDelivered(of);

  const trail = await stage.trailOf(caseId, of);
  const ids = trail.map(({ event }) => event!.eventId);
  expect(ids).toEqual([await stage.eventIdOf(caseId, 1), tombstoneEventId, await stage.eventIdOf(caseId, 3)]);
  expect(ids).toEqual(ids.toSorted());
  expect(findBreak(trail)).toBeUndefined();
  const tombstone = trail[1]!.event!;
  expect(tombstone).toMatchObject({
    type: "caseflow.event.skipped",
    subject: caseId,
    subjectSequence: 2n,
    fromState: "draft",
    toState: "submitted",
    actor: { id: "operator", roles: ["operator"] },
    reason,
    requestId,
    tombstone: { originalEventId: eventId, reason },
  });
  expect(hex(tombstone.tombstone!.originalDigest)).toBe(hex(trail[2]!.event!.previousDigest));
  const [act] = await stage.trailOf("delivery", of);
  expect(act?.event).toMatchObject({
    type: "caseflow.delivery.skipped",
    subjectSequence: 1n,
    actor: { id: "operator" },
    reason,
    requestId,
    aboutEventIds: [eventId],
  });
});

test("a redrive queues what is dead and nothing else, and the log tells which events that was", async () => {
  const of = newTenant();
  const admin = await stage.cases.admin(of);
  const caseIds = [
    await openCase(stage.cases, "submitted", of),
    await openCase(stage.cases, "submitted", of),
  ];
  const first = [await stage.eventIdOf(caseIds[0]!, 1), await stage.eventIdOf(caseIds[1]!, 1)];
  const waiting = await stage.eventIdOf(caseIds[0]!, 2);
  {
    await using _relay = await stage.startRelay({ refused: true });
    await stage.untilDead(...caseIds.map((caseId) => `${caseId} 1 SOURCE_NOT_ALLOWED`));
  }
  const eventIds = [first[1]!.toUpperCase(), v7(), first[0]!, waiting];
  const asked = { requestId: randomUUID(), eventIds };
  const { redrivenEventIds } = await admin.redriveDeadLetters(asked);
  expect(redrivenEventIds).toEqual([first[1], first[0]]);
  const { "public.recorded_answers": _answers, ...before } = await rowDigests(
    stage.cases.database.superuserUrl,
  );
  const again = { ...asked, requestId: randomUUID() };
  expect(await admin.redriveDeadLetters(again)).toMatchObject({ redrivenEventIds: [] });
  expect(await rowDigests(stage.cases.database.superuserUrl)).toMatchObject(before);

  await using _relay = await stage.startRelay();
  await stage.untilDelivered(of);
  for (const caseId of caseIds) {
    const trail = await stage.trailOf(caseId, of);
    expect(trail).toHaveLength(2);
    expect(findBreak(trail)).toBeUndefined();
  }
  const acts = await stage.trailOf("delivery", of);
  expect(acts.map(({ event }) => [event!.type, event!.aboutEventIds])).toEqual([
    ["caseflow.delivery.redriven", redrivenEventIds],
  ]);
});

test("acts on delivery are one chain, and no case's history or watch tells of them", async () => {
  const of = newTenant();
  const admin = await stage.cases.admin(of);
  const auditor = await stage.cases.as("auditor", of);
  const doomed = [await openDoomedCase(of, 1), await openDoomedCase(of, 1), await openDoomedCase(of, 1)];
  await using watch = await openWatch(auditor);
  await using _relay = await stage.startRelay();
  await stage.untilDead(...doomed.map(({ caseId }) => `${caseId} 1 EVENT_ID_REUSED`));
  for (const { eventId } of doomed) await admin.skipDeadLetter(request(eventId));
  await stage.untilDelivered(of);
  const acts = await stage.trailOf("delivery", of);
  expect(acts.map(({ event }) => event!.subjectSequence)).toEqual([1n, 2n, 3n]);
  expect(findBreak(acts)).toBeUndefined();
  expect(await refusalOf(auditor.getCaseHistory({ caseId: deliveryId }))).toBe("NotFound CASE_NOT_FOUND");
  const last = await openCase(stage.cases, "draft", of);
  await watch.until((messages) => messages.some((message) => message.case?.caseId === last));
  expect(watch.messages.flatMap((message) => message.case?.caseId ?? [])).toEqual([last]);
});

test("a policy's event is a dead letter like a case's, and so is an act's own", async () => {
  const of = newTenant();
  const admin = await stage.cases.admin(of);
  await setPolicy(stage.cases, "permit", of);
  await setPolicy(stage.cases, "permit", of);
  const { rows } = await stage.superuser.query<{ subject_id: string }>(
    "SELECT subject_id FROM case_policies WHERE tenant_id = $1",
    [of],
  );
  for (const subjectId of [rows[0]!.subject_id, deliveryId]) {
    const eventId = await stage.eventIdOf(subjectId, 1, of);
    await stage.takeId(eventId, of);
    {
      await using _relay = await stage.startRelay();
      await stage.untilDead(`${subjectId} 1 EVENT_ID_REUSED`);
    }
    await admin.skipDeadLetter(request(eventId));
  }
  await using _relay = await stage.startRelay();
  await stage.untilDelivered(of);
  for (const subject of ["policy/permit", "delivery"]) {
    const trail = await stage.trailOf(subject, of);
    expect(trail.map(({ event }) => event!.tombstone !== undefined)).toEqual([true, false]);
    expect(findBreak(trail)).toBeUndefined();
  }
});

test("an act sent again is answered as it was, byte for byte, and its request id is no other's", async () => {
  const of = newTenant();
  const admin = await stage.cases.admin(of);
  const [skipped, redriven] = [await openDoomedCase(of, 1), await openDoomedCase(of, 2)];
  {
    await using _relay = await stage.startRelay();
    await stage.untilDead(`${skipped.caseId} 1 EVENT_ID_REUSED`, `${redriven.caseId} 2 EVENT_ID_REUSED`);
  }
  const skip = request(skipped.eventId);
  const redrive = { requestId: randomUUID(), eventIds: [redriven.eventId] };
  const first = [await admin.skipDeadLetter(skip), await admin.redriveDeadLetters(redrive)];
  const before = await rowDigests(stage.cases.database.superuserUrl);
  const replayed: (string | null)[] = [];
  const onHeader = (headers: Headers) => replayed.push(headers.get("caseflow-replayed"));
  expect([
    await admin.skipDeadLetter(skip, { onHeader }),
    await admin.redriveDeadLetters(redrive, { onHeader }),
  ]).toEqual(first);
  expect(replayed).toEqual(["true", "true"]);
  const others = [
    () => admin.skipDeadLetter({ ...skip, reason: "another" }),
    () => admin.skipDeadLetter({ ...skip, eventId: redriven.eventId }),
    () => admin.skipDeadLetter({ ...skip, requestId: redrive.requestId }),
    () => admin.redriveDeadLetters({ ...redrive, eventIds: [skipped.eventId] }),
    () => admin.redriveDeadLetters({ ...redrive, requestId: skip.requestId }),
  ];
  for (const other of others) expect(await refusalOf(other())).toBe("InvalidArgument REQUEST_ID_REUSED");
  expect(await rowDigests(stage.cases.database.superuserUrl)).toEqual(before);
});

test("nothing is skipped that is no dead letter, nor without a reason, nor where the histories have forked", async () => {
  const of = newTenant();
  const admin = await stage.cases.admin(of);
  const caseId = await openCase(stage.cases, "submitted", of);
  const eventId = await stage.eventIdOf(caseId, 1);
  expect(await refusalOf(admin.skipDeadLetter(request(eventId)))).toBe("NotFound EVENT_NOT_FOUND");
  const own = await stage.audit.source(["caseflow/case"]);
  await own.recordEvents({
    events: [makeEvent({ tenantId: of, source: "caseflow/case", subject: caseId }).bytes],
  });
  await using _relay = await stage.startRelay();
  await stage.untilDead(`${caseId} 1 SEQUENCE_REUSED`);
  const before = await rowDigests(stage.cases.database.superuserUrl);
  const blank = { ...request(eventId), reason: " \n" };
  expect(await refusalOf(admin.skipDeadLetter(blank))).toBe("FailedPrecondition REASON_REQUIRED");
  expect(await refusalOf(admin.skipDeadLetter(request(eventId)))).toBe("FailedPrecondition HISTORY_FORKED");
  expect(await rowDigests(stage.cases.database.superuserUrl)).toEqual(before);
});

test("when the event arrived after all, its refused tombstone gives way, and a redrive lets the case go on", async () => {
  const of = newTenant();
  const admin = await stage.cases.admin(of);
  const caseId = await openCase(stage.cases, "assigned", of);
  const eventId = await stage.eventIdOf(caseId, 1);
  {
    await using _relay = await stage.startRelay({ refused: true });
    await stage.untilDead(`${caseId} 1 SOURCE_NOT_ALLOWED`);
  }
  const { tombstoneEventId } = await admin.skipDeadLetter(request(eventId));
  await stage.deliverPastRelay(eventId); // A delivery that hung all the while.
  await using _relay = await stage.startRelay();
  await stage.untilDead(`${caseId} 1 SEQUENCE_REUSED`);
  const { deadLetters } = await admin.listDeadLetters({ caseId });
  expect(deadLetters).toMatchObject([
    { eventId, tombstoneEventId, detail: "its tombstone: rejected by the audit service", waitingCount: 2 },
  ]);
  await admin.redriveDeadLetters({ requestId: randomUUID(), eventIds: [eventId] });
  await stage.untilDelivered(of);
  const trail = await stage.trailOf(caseId, of);
  expect(trail.map(({ event }) => event!.tombstone)).toEqual([undefined, undefined, undefined]);
  expect(findBreak(trail)).toBeUndefined();
});

test("when the tombstone arrived without anybody knowing, a second skip sends the same one, and the case goes on", async () => {
  const of = newTenant();
  const admin = await stage.cases.admin(of);
  const caseId = await openCase(stage.cases, "assigned", of);
  const eventId = await stage.eventIdOf(caseId, 2);
  {
    await using _relay = await stage.startRelay();
    await stage.takeId(eventId, of);
    await stage.untilDead(`${caseId} 2 EVENT_ID_REUSED`);
  }
  const { tombstoneEventId } = await admin.skipDeadLetter(request(eventId));
  await stage.deliverPastRelay(tombstoneEventId);
  await stage.giveUp(tombstoneEventId);

  const again = { ...request(eventId), reason: "once more" };
  expect(await admin.skipDeadLetter(again)).toMatchObject({ tombstoneEventId });
  await using _relay = await stage.startRelay();
  await stage.untilDelivered(of);
  const trail = await stage.trailOf(caseId, of);
  expect(trail.map(({ event }) => event!.tombstone?.reason)).toEqual([undefined, reason, undefined]);
  expect(findBreak(trail)).toBeUndefined();
  const acts = await stage.trailOf("delivery", of);
  expect(acts.map(({ event }) => event!.reason)).toEqual([reason, "once more"]);
});

test("an entry that was skipped waits as long as its tombstone does, and is queued again as that", async () => {
  const of = newTenant();
  const admin = await stage.cases.admin(of);
  const { caseId, eventId } = await openDoomedCase(of, 1);
  {
    await using _relay = await stage.startRelay();
    await stage.untilDead(`${caseId} 1 EVENT_ID_REUSED`);
  }
  const told = async () => {
    const { entries } = await admin.listEntryDigests({ subject: caseId, pageSize: 1 });
    return entries.map(({ pending, deadLetter }) => ({ pending, deadLetter }));
  };
  expect(await told()).toEqual([{ pending: true, deadLetter: true }]);
  const { tombstoneEventId } = await admin.skipDeadLetter(request(eventId));
  expect(await told()).toEqual([{ pending: true, deadLetter: false }]);
  {
    await using _relay = await stage.startRelay();
    await stage.untilDelivered(of);
  }
  expect(await told()).toEqual([{ pending: false, deadLetter: false }]);

  const { requeuedEventIds } = await admin.requeueEntries({ requestId: randomUUID(), eventIds: [eventId] });
  expect(requeuedEventIds).toEqual([eventId]);
  const { rows } = await stage.superuser.query("SELECT event_id FROM outbox WHERE case_id = $1", [caseId]);
  expect(rows).toEqual([{ event_id: tombstoneEventId }]);
  await using _relay = await stage.startRelay();
  await stage.untilDelivered(of);
  const trail = await stage.trailOf(caseId, of);
  expect(trail.map(({ event }) => event!.eventId).slice(0, 1)).toEqual([tombstoneEventId]);
  expect(trail).toHaveLength(3);
});

test("behind skips and redrives what was lost is brought back, the services agree, and the verifier finds nothing against the log", async () => {
  const of = tenant;
  const admin = await stage.cases.admin(of);
  const first = await openDoomedCase(of, 1);
  const last = await openDoomedCase(of, 3);
  const late = await openCase(stage.cases, "closed", of);
  const lateEventId = await stage.eventIdOf(late, 2);
  await stage.giveUp(lateEventId);
  const lostEventId = await stage.eventIdOf(first.caseId, 3);
  await stage.superuser.query("DELETE FROM outbox WHERE event_id = $1", [lostEventId]);
  await using _relay = await stage.startRelay();
  await stage.untilDead(
    ...[`${first.caseId} 1 EVENT_ID_REUSED`, `${last.caseId} 3 EVENT_ID_REUSED`],
    `${late} 2 DELIVERY_FAILED`,
  );
  for (const { eventId } of [first, last]) await admin.skipDeadLetter(request(eventId));
  await admin.redriveDeadLetters({ requestId: randomUUID(), eventIds: [lateEventId] });
  await stage.untilDelivered(of);

  const lost = `missing ${first.caseId} 3 ${lostEventId}`;
  expect((await compareServices(stage, { repair: true })).told).toEqual([lost]);
  await stage.untilDelivered(of);
  expect((await compareServices(stage)).told).toEqual([]);
  const { events } = await (await stage.audit.auditor(of)).listEvents({ pageSize: 500 });
  using judge = createEventJudge(of, { whole: true });
  for (const { leafIndex, eventBytes } of events) judge.add(Number(leafIndex), eventBytes);
  const { first: fault, tombstoneCount } = judge.finish();
  expect({ fault, tombstoneCount }).toEqual({ fault: undefined, tombstoneCount: 2 });
});

test("dead letters are listed by event id, page by page, with what a person needs to decide", async () => {
  const of = newTenant();
  const admin = await stage.cases.admin(of);
  const caseIds: string[] = [];
  for (let count = 0; count < 5; count++) caseIds.push(await openCase(stage.cases, "submitted", of));
  const since = Date.now();
  {
    await using _relay = await stage.startRelay({ refused: true });
    await stage.untilDead(...caseIds.map((caseId) => `${caseId} 1 SOURCE_NOT_ALLOWED`));
  }
  const pages = [];
  for (let pageToken = "", more = true; more; more = pageToken !== "") {
    const page = await admin.listDeadLetters({ pageSize: 2, pageToken });
    pages.push(page.deadLetters);
    pageToken = page.nextPageToken;
  }
  expect(pages.map((page) => page.length)).toEqual([2, 2, 1]);
  expect(pages.flat().map(({ caseId }) => caseId)).toEqual(caseIds);
  const [letter] = pages[0]!;
  const eventId = await stage.eventIdOf(caseIds[0]!, 1);
  expect(letter).toMatchObject({
    eventId,
    version: 1,
    reason: "SOURCE_NOT_ALLOWED",
    detail: "rejected by the audit service",
    waitingCount: 1,
    tombstoneEventId: "",
    event: { eventId, type: "caseflow.case.created", toState: "draft", actor: { id: "caseworker" } },
  });
  expect(Number(letter!.deadAt!.seconds)).toBeGreaterThanOrEqual(Math.floor(since / 1_000));
  const { rows } = await stage.superuser.query("SELECT event_digest FROM audit_entries WHERE event_id = $1", [
    eventId,
  ]);
  expect(hex(letter!.eventDigest)).toBe(hex(rows[0].event_digest));
  const only = async (filter: { caseId?: string; eventId?: string }) =>
    (await admin.listDeadLetters(filter)).deadLetters.map((found) => found.eventId);
  expect(await only({ caseId: caseIds[0]!.toUpperCase() })).toEqual([eventId]);
  expect(await only({ eventId: eventId.toUpperCase() })).toEqual([eventId]);
  expect(await only({ eventId, caseId: caseIds[1]! })).toEqual([]);
  const { nextPageToken: pageToken } = await admin.listDeadLetters({ pageSize: 2 });
  const elsewhere = await stage.cases.admin("nobody");
  for (const other of [
    () => admin.listDeadLetters({ pageToken, caseId: caseIds[0]! }),
    () => elsewhere.listDeadLetters({ pageToken }),
  ]) {
    expect(await refusalOf(other())).toBe("InvalidArgument PAGE_TOKEN_INVALID");
  }
});

/** Puts dead letters into the database that no relay has made: each of a case of its own, and with these bytes. Returns their ids. */
async function plantDeadLetters(of: string, count: number, event: Uint8Array): Promise<readonly string[]> {
  const ids = Array.from({ length: count }, () => v7());
  await stage.superuser.query(
    `WITH entries AS (
       INSERT INTO audit_entries (tenant_id, case_id, version, action, to_state, principal_id, request_id, event_id, event, event_digest, recorded_at)
       SELECT $1, id, 1, 'create', 'draft', 'ada', id, id, $3, sha256($3), now() FROM unnest($2::uuid[]) id RETURNING *)
     INSERT INTO dead_letters (tenant_id, event_id, case_id, version, reason, detail, dead_at)
     SELECT tenant_id, event_id, case_id, version, 'INVALID_EVENT', '', now() FROM entries`,
    [of, ids, event],
  );
  return ids.toSorted();
}

test("a page of the largest events stays below what clients read, and none is left out", async () => {
  const of = newTenant();
  const admin = await stage.cases.admin(of);
  const event = makeEvent({ tenantId: of, toState: "x".repeat(61_000) }).bytes;
  const planted = await plantDeadLetters(of, 60, event);
  const seen: string[] = [];
  for (let pageToken = "", more = true; more; more = pageToken !== "") {
    const page = await admin.listDeadLetters({ pageSize: 500, pageToken });
    expect(page.deadLetters.length).toBeLessThan(60);
    seen.push(...page.deadLetters.map(({ eventId }) => eventId));
    pageToken = page.nextPageToken;
  }
  expect(seen).toEqual(planted);
});

test("the largest acts fit: five hundred dead letters at once, and the longest reason in the longest characters", async () => {
  const of = newTenant();
  const admin = await stage.cases.admin(of);
  const planted = await plantDeadLetters(of, 499, Buffer.from("no event"));
  const { caseId, eventId } = await openDoomedCase(of, 1);
  const eventIds = [eventId, ...planted];
  {
    await using _relay = await stage.startRelay();
    await stage.untilDead(`${caseId} 1 EVENT_ID_REUSED`);
  }
  const answer = await admin.redriveDeadLetters({ requestId: randomUUID(), eventIds });
  expect(answer.redrivenEventIds).toEqual(eventIds);
  const gone = await stage.superuser.query("DELETE FROM outbox WHERE event_id = ANY($1)", [planted]);
  expect(gone.rowCount).toBe(499);
  await using _relay = await stage.startRelay();
  await stage.untilDead(`${caseId} 1 EVENT_ID_REUSED`);
  await admin.skipDeadLetter({ ...request(eventId), reason: "🜁".repeat(4_000) });
  await stage.untilDelivered(of);
  const [redriven, skipped] = await stage.trailOf("delivery", of);
  expect(redriven!.event!.aboutEventIds).toEqual(eventIds);
  expect(skipped!.event!.reason).toHaveLength(8_000);
  const [tombstone] = await stage.trailOf(caseId, of);
  expect(tombstone!.event!.tombstone!.reason).toHaveLength(8_000);
});
