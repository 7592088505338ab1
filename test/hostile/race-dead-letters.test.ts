import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CaseAdminClient } from "#libs/client/case-admin-client.ts";
import { findBreak } from "#services/local/audit-trail.ts";
import { openCase, startCaseService, type CaseServiceFixture } from "../support/case-service.ts";
import { startCuttingProxy } from "../support/cutting-proxy.ts";
import { startDeadLetterStage, type DeadLetterStage } from "../support/dead-letters.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { refusalOf } from "../support/reason-of.ts";

/* Dead letters in the hands of several operators, at two replicas, and of relays. Each test has a tenant of its own. */

expectNoLeaks();

const stack = new AsyncDisposableStack();
let stage: DeadLetterStage;
let replica: CaseServiceFixture;
beforeAll(async () => {
  stage = stack.use(await startDeadLetterStage());
  const { issuer, cases } = stage;
  replica = stack.use(await startCaseService({ issuer, database: cases.database, config: { relay: "off" } }));
});
afterAll(() => stack.disposeAsync());

const reason = "it cannot be told";

type Act = (admin: CaseAdminClient, eventId: string) => Promise<boolean>;

/** Whether the act took effect. */
const redrive: Act = async (admin, eventId) => {
  const { redrivenEventIds } = await admin.redriveDeadLetters({
    requestId: randomUUID(),
    eventIds: [eventId],
  });
  return redrivenEventIds.length === 1;
};
const skip: Act = async (admin, eventId) => {
  const outcome = await refusalOf(admin.skipDeadLetter({ requestId: randomUUID(), eventId, reason }));
  expect(["accepted", "NotFound EVENT_NOT_FOUND"]).toContain(outcome);
  return outcome === "accepted";
};

const rounds = 5;

test.each<[string, Act, Act]>([
  ["redrive twice", redrive, redrive],
  ["redrive and skip", redrive, skip],
  ["skip twice", skip, skip],
])(
  "of two operators who %s at once one takes effect, and the event or its tombstone is delivered once",
  async (what, one, other) => {
    const of = `two-${what.replaceAll(" ", "-")}`;
    const admins = [await stage.cases.admin(of), await replica.admin(of)] as const;
    const skipped = new Map<string, boolean>();
    for (let round = 0; round < rounds; round++) {
      const caseId = await openCase(stage.cases, "submitted", of);
      const eventId = await stage.eventIdOf(caseId, 1);
      await stage.giveUp(eventId);
      const [first, second] = await Promise.all([one(admins[0], eventId), other(admins[1], eventId)]);
      expect([first, second].filter(Boolean)).toHaveLength(1);
      skipped.set(caseId, (first && one === skip) || (second && other === skip));
    }
    await using _relay = await stage.startRelay();
    await stage.untilDelivered(of);
    for (const [caseId, isSkipped] of skipped) {
      const trail = await stage.trailOf(caseId, of);
      expect(trail.map(({ event }) => event!.tombstone !== undefined)).toEqual([isSkipped, false]);
      expect(findBreak(trail)).toBeUndefined();
    }
    const acts = await stage.trailOf("delivery", of);
    expect(acts).toHaveLength(rounds);
    expect(findBreak(acts)).toBeUndefined();
  },
);

test("of many operators who redrive overlapping lots at once each dead letter falls to one, and its act tells so", async () => {
  const of = "many";
  const eventIds: string[] = [];
  for (let count = 0; count < 16; count++) {
    const eventId = await stage.eventIdOf(await openCase(stage.cases, "draft", of), 1);
    await stage.giveUp(eventId);
    eventIds.push(eventId);
  }
  const admins = [await stage.cases.admin(of), await replica.admin(of)];
  const redriven = await Promise.all(
    Array.from({ length: 8 }, async (_, operator) => {
      const lot = eventIds.filter((__, index) => (index + operator) % 3 !== 0);
      const request = { requestId: randomUUID(), eventIds: lot };
      for (;;) {
        const call = admins[operator % 2]!.redriveDeadLetters(request);
        const outcome = await refusalOf(call);
        if (outcome === "accepted") return (await call).redrivenEventIds;
        expect(outcome).toBe("Aborted VERSION_MISMATCH");
      }
    }),
  );
  expect(redriven.flat().toSorted()).toEqual(eventIds.toSorted());
  await using _relay = await stage.startRelay();
  await stage.untilDelivered(of);
  const acts = await stage.trailOf("delivery", of);
  const told = acts.map(({ event }) => event!.aboutEventIds.join(" "));
  const answered = redriven.filter((ids) => ids.length > 0).map((ids) => ids.join(" "));
  expect(told.toSorted()).toEqual(answered.toSorted());
});

/** Undelivered entries that are not in exactly one place, outbox or dead letters. */
const misplaced = `
  SELECT e.case_id, e.version FROM audit_entries e
    LEFT JOIN outbox o USING (tenant_id, case_id, version) LEFT JOIN dead_letters d USING (tenant_id, case_id, version)
   WHERE tenant_id = $1 GROUP BY 1, 2 HAVING count(o.event_id) + count(d.event_id) <> 1`;

test("while two relays give up what an operator redrives, each event is queued or dead, never both and never neither", async () => {
  const of = "against-relays";
  const admin = await stage.cases.admin(of);
  const caseIds: string[] = [];
  {
    await using _one = await stage.startRelay({ refused: true });
    await using _other = await stage.startRelay({ refused: true });
    let redriven = 0;
    for (let round = 0; round < 12 || redriven < 20; round++) {
      if (round < 6) caseIds.push(await openCase(stage.cases, "submitted", of));
      const { deadLetters } = await admin.listDeadLetters({});
      const eventIds = deadLetters.map(({ eventId }) => eventId);
      if (eventIds.length > 0) {
        const answer = await admin.redriveDeadLetters({ requestId: randomUUID(), eventIds });
        redriven += answer.redrivenEventIds.length;
      }
      expect((await stage.superuser.query(misplaced, [of])).rows).toEqual([]);
    }
  }
  const { deadLetters } = await admin.listDeadLetters({});
  await admin.redriveDeadLetters({
    requestId: randomUUID(),
    eventIds: deadLetters.map(({ eventId }) => eventId),
  });
  await using _relay = await stage.startRelay();
  await stage.untilDelivered(of);
  for (const subject of [...caseIds, "delivery"])
    expect(findBreak(await stage.trailOf(subject, of))).toBeUndefined();
  for (const caseId of caseIds) expect(await stage.trailOf(caseId, of)).toHaveLength(2);
});

test("a relay's late verdict about an event that was skipped meanwhile changes nothing", async () => {
  const of = "late-verdict";
  const admin = await stage.cases.admin(of);
  await using front = await startCuttingProxy({
    host: "127.0.0.1",
    port: Number(new URL(stage.audit.url).port),
  });
  const caseId = await openCase(stage.cases, "submitted", of);
  const eventId = await stage.eventIdOf(caseId, 1);
  await stage.takeId(eventId, of);
  const verdict = front.strike({ side: "server", has: "EVENT_ID_REUSED" }, "hold");
  {
    await using _slow = await stage.startRelay({ auditUrl: `http://127.0.0.1:${front.port}` });
    await verdict.struck;
    await using _other = await stage.startRelay();
    await stage.superuser.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')`,
    );
    await stage.untilDead(`${caseId} 1 EVENT_ID_REUSED`);
    await admin.skipDeadLetter({ requestId: randomUUID(), eventId, reason });
    await stage.untilDelivered(of);
    verdict.release();
  } // Here both have settled what they were told.
  await stage.untilDelivered(of);
  const trail = await stage.trailOf(caseId, of);
  expect(trail.map(({ event }) => event!.tombstone !== undefined)).toEqual([true, false]);
  expect(findBreak(trail)).toBeUndefined();
});
