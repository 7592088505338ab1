import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { attended, deliveryId } from "#services/case/application/delivery-subject.ts";
import { openAttackSession, type AttackSession } from "../support/attack-session.ts";
import { openCase, tenant } from "../support/case-service.ts";
import { startDeadLetterStage, type DeadLetterStage } from "../support/dead-letters.ts";
import { expectNoLeaks } from "../support/leak-check.ts";

expectNoLeaks();

/* What hand-written SQL as one of the service's roles can do to dead letters, tombstones and the acts on delivery. */

const stack = new AsyncDisposableStack();
let stage: DeadLetterStage;
let app: AttackSession;
let relay: AttackSession;
/** A case of two events: the first was skipped by an act, the second is a dead letter. */
let caseId: string;

beforeAll(async () => {
  stage = stack.use(await startDeadLetterStage());
  app = stack.use(await openAttackSession(stage.cases.database.appUrl));
  relay = stack.use(await openAttackSession(stage.cases.database.relayUrl));
  caseId = await openCase(stage.cases, "submitted");
  const [first, second] = [await stage.eventIdOf(caseId, 1), await stage.eventIdOf(caseId, 2)];
  await stage.giveUp(first);
  const admin = await stage.cases.admin();
  await admin.skipDeadLetter({ requestId: randomUUID(), eventId: first, reason: "it cannot be told" });
  await stage.giveUp(second);
});
afterAll(() => stack.disposeAsync());

const insufficientPrivilege = "42501";

test("no role writes a dead letter over, the application makes none, and the relay removes none", async () => {
  const insert = `INSERT INTO dead_letters SELECT tenant_id, event_id, case_id, version, 'X', '', now() FROM audit_entries WHERE version = 1`;
  for (const text of [insert, "UPDATE dead_letters SET reason = 'X'"]) {
    expect(await app.attempt(text, tenant), text).toBe(insufficientPrivilege);
  }
  for (const text of ["DELETE FROM dead_letters", "UPDATE dead_letters SET reason = 'X'"]) {
    expect(await relay.attempt(text), text).toBe(insufficientPrivilege);
  }
});

test("a dead letter of another tenant cannot be removed, nor one without a tenant", async () => {
  for (const named of ["other", "", undefined]) {
    expect(await app.attempt("DELETE FROM dead_letters", named)).toBe("done 0");
    expect(await app.attempt(`DELETE FROM dead_letters WHERE tenant_id = '${tenant}'`, named)).toBe("done 0");
  }
  expect(await app.attempt("DELETE FROM dead_letters", tenant)).toBe("done 1"); // Its own: docs/failure-model.md says so.
});

const tombstone = (changes: Readonly<Record<string, string>> = {}) => {
  const row: Record<string, string> = {
    tenant_id: `'${tenant}'`,
    case_id: `'${caseId}'`,
    version: "2",
    event_id: `'${randomUUID()}'`,
    event: "'attack'",
    act_id: `'${deliveryId}'`,
    act_version: "1",
    person_id: "'operator'",
    act_action: "'skip'",
    ...changes,
  };
  return `INSERT INTO tombstones (${Object.keys(row).join(", ")}) VALUES (${Object.values(row).join(", ")})`;
};

test.each<[string, Readonly<Record<string, string>>, string]>([
  ["without an act", { act_version: "2" }, "tombstones_by_act"],
  ["by another act than a skip", { act_action: "'redrive'" }, "tombstones_act_action"],
  ["by what was done to a case", { act_id: "(SELECT case_id FROM dead_letters)" }, "tombstones_by_act"],
  ["in another person's name", { person_id: "'mallory'" }, "tombstones_by_act"],
  ["for an entry that is not there", { version: "3" }, "tombstones_of_entry"],
  ["in the place of another", { version: "1" }, "tombstones_pkey"],
  ["under the id of another", { event_id: "(SELECT event_id FROM tombstones)" }, "tombstones_event_id_once"],
  ["without bytes", { event: "''" }, "tombstones_event_size"],
  ["for another tenant", { tenant_id: "'other'" }, insufficientPrivilege],
])("no tombstone is set %s", async (_how, changes, refused) => {
  expect(await app.attempt(tombstone(changes), tenant)).toBe(refused);
});

test("a tombstone that is there cannot be changed or removed, and the relay sets none", async () => {
  expect(await app.attempt(tombstone(), tenant)).toBe("done 1"); // Nothing else was wrong above.
  for (const text of ["UPDATE tombstones SET event = 'x'", "DELETE FROM tombstones"]) {
    expect(await app.attempt(text, tenant)).toBe(insufficientPrivilege);
  }
  expect(await relay.attempt(tombstone())).toBe(insufficientPrivilege);
});

const entry = (of: string, version: number, action: string, from: string | null, to: string) => `
  INSERT INTO audit_entries (tenant_id, case_id, version, action, from_state, to_state, previous_version, principal_id,
                             request_id, event_id, event, event_digest, recorded_at)
  VALUES ('${tenant}', '${of}', ${version}, '${action}', ${from === null ? "NULL" : `'${from}'`}, '${to}', nullif(${version - 1}, 0),
          'mallory', '${randomUUID()}', '${randomUUID()}', 'attack', sha256('attack'), now())`;

test.each<[string, string, string]>([
  ["close", attended, "closed"],
  ["close", attended, attended],
  ["place_hold", attended, attended],
  ["erase", attended, attended],
  ["set_policy", attended, attended],
  ["redrive", attended, "draft"],
  ["skip", attended, "in_force"],
])("an act on delivery is nothing else: %s from %s to %s is refused", async (action, from, to) => {
  expect(await app.attempt(entry(deliveryId, 2, action, from, to), tenant)).toBe(
    "audit_entries_transition_allowed",
  );
});

test("a case is not acted on as delivery is, and acts follow one another without a gap", async () => {
  for (const [action, to] of [
    ["redrive", "submitted"],
    ["skip", attended],
  ] as const) {
    const refused = await app.attempt(entry(caseId, 3, action, "submitted", to), tenant);
    expect(refused).toBe("audit_entries_transition_allowed");
  }
  expect(await app.attempt(entry(deliveryId, 2, "redrive", attended, attended), tenant)).toBe("done 1");
  expect(await app.attempt(entry(deliveryId, 3, "redrive", attended, attended), tenant)).toBe(
    "audit_entries_follow_predecessor",
  );
  expect(await app.attempt(entry(deliveryId, 1, "redrive", null, attended), tenant)).toBe(
    "audit_entries_pkey",
  );
});

test("a dead letter that somebody removed by hand leaves no hole in the record: what is behind it waits", async () => {
  const of = "by-hand";
  const doomed = await openCase(stage.cases, "assigned", of);
  await stage.giveUp(await stage.eventIdOf(doomed, 2));
  await stage.superuser.query("DELETE FROM dead_letters WHERE tenant_id = $1", [of]);
  await using _relay = await stage.startRelay();
  await expect.poll(async () => (await stage.trailOf(doomed, of)).length).toBe(1);
  const other = await openCase(stage.cases, "closed", of); // Delivered as a whole, beside and after it.
  await expect.poll(async () => (await stage.trailOf(other, of)).length).toBe(6);
  expect(await stage.trailOf(doomed, of)).toHaveLength(1);
  const left = async () =>
    (await stage.superuser.query("SELECT version FROM outbox WHERE tenant_id = $1", [of])).rows;
  await expect.poll(left).toEqual([{ version: 3 }]);
});
