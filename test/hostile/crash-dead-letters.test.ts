import { randomUUID } from "node:crypto";
import { createAuditClient } from "#libs/client/audit-client.ts";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startAuditService, testSource } from "../support/audit-service.ts";
import { bareLimits } from "../support/bare-limits.ts";
import { openCase, tenant } from "../support/case-service.ts";
import { acts, attackAct } from "../support/crash-act.ts";
import { expectAudited } from "../support/crash-audited.ts";
import {
  attackDelivery,
  startDeliveryStage,
  startRelayHere,
  startRelayProcess,
  type DeliveryAttack,
  type DeliveryStage,
} from "../support/crash-delivery.ts";
import { atEveryPoint, killStride, type Point } from "../support/crash-points.ts";
import type { Message } from "../support/crash-proxy.ts";
import { cutConnection, newTenant, startProcessVictim, startVictim } from "../support/crash-victims.ts";
import { cloneCaseDatabase, type CaseDatabase } from "../support/databases.ts";
import { giveUp } from "../support/dead-letters.ts";
import { makeEvent } from "../support/events.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { openSuperuser } from "../support/superuser.ts";
import { createIssuer, type Issuer } from "../support/tokens.ts";

/* Acts on dead letters, and the relay that makes dead letters and delivers tombstones, message by message: at each something dies. */

expectNoLeaks();

const stack = new AsyncDisposableStack();
let issuer: Issuer;
let database: CaseDatabase;
let delivery: DeliveryStage;

beforeAll(async () => {
  issuer = stack.use(await createIssuer());
  database = stack.use(await cloneCaseDatabase());
  delivery = stack.use(await startDeliveryStage(issuer));
});
afterAll(() => stack.disposeAsync());

/** Enough for a machine with little to spare. */
const timeout = 600_000;
/** Each kill costs a process its start: of neighbouring points the earlier one. */
const onlyBefore = 2;
/** At least so many messages has an act: the load's and the commit's, sent and answered. */
const messagesMin = 26;

test.each(["redrive", "skip"] as const)(
  "when the connection is cut before or after any message of a %s, it is there whole or not at all, and a retry settles it",
  { timeout },
  async (name) => {
    await using victim = await startVictim(database, issuer);
    const stage = { superuserUrl: database.superuserUrl, victim, fault: cutConnection, tenant: newTenant() };
    const struck = await atEveryPoint([stage], (on, point) => attackAct(on, acts[name], point), killStride());
    expect(struck.length, struck.join("\n")).toBeGreaterThanOrEqual(
      Math.floor((2 * messagesMin) / killStride()),
    );
    expect(new Set(struck.map((what) => what.split(": ")[1]))).toEqual(new Set(["done", "not done"]));
  },
);

/** The messages around which an act takes effect: its commit, and the answer to that. */
const isCommit = ({ opening, text }: Message): boolean =>
  !opening.includes("READ ONLY") && /^(Q|C)[^]{4}COMMIT\0/.test(text);

test(
  "when the service is killed around the commit of a skip, it is there whole or not at all, and a retry settles it",
  { timeout },
  async () => {
    await using killable = await startProcessVictim(database, issuer);
    const { victim, kill: fault } = killable;
    const stage = { superuserUrl: database.superuserUrl, victim, fault, tenant: newTenant() };
    const attack = (on: typeof stage, point: Point) => attackAct(on, acts.skip, point, isCommit);
    const struck = await atEveryPoint([stage], attack, onlyBefore);
    expect(struck).toEqual(["before client Q COMMIT: not done", "before server C COMMIT: done"]);
  },
);

test(
  "after all these acts the audit service has each event or its tombstone, in order",
  { timeout },
  async () => {
    await using audit = await startAuditService({ issuer });
    await expectAudited({ database, audit, issuer });
  },
);

/** A case that goes on behind a tombstone, and another whose event will be refused. */
async function prepare({ cases, audit }: DeliveryStage): Promise<void> {
  await using superuser = await openSuperuser(cases.database.superuserUrl);
  const eventIdOf = async (caseId: string) =>
    (await superuser.query("SELECT event_id FROM audit_entries WHERE case_id = $1 AND version = 1", [caseId]))
      .rows[0].event_id as string;
  const skipped = await eventIdOf(await openCase(cases, "submitted"));
  await giveUp(superuser, skipped);
  await skip(cases, skipped);
  const doomed = await eventIdOf(await openCase(cases, "draft"));
  const token = await issuer.token({
    sub: "squatter",
    kind: "service",
    roles: ["event_source"],
    sources: [testSource],
  });
  await using squatter = createAuditClient({ url: audit.url, token, limits: bareLimits });
  await squatter.recordEvents({ events: [makeEvent({ eventId: doomed, tenantId: tenant }).bytes] });
}

async function skip(cases: DeliveryStage["cases"], eventId: string): Promise<void> {
  const admin = await cases.admin();
  await admin.skipDeadLetter({ requestId: randomUUID(), eventId, reason: "it cannot be told" });
}

/** Whatever died: in the end the one event has been given up, and can be skipped. */
async function settle(stage: DeliveryStage): Promise<void> {
  await using _relay = await startRelayHere(stage);
  const { cases } = stage;
  const admin = await cases.admin();
  const found = async () => (await admin.listDeadLetters({})).deadLetters.map(({ reason }) => reason);
  await expect.poll(found, { timeout: 60_000 }).toEqual(["EVENT_ID_REUSED"]);
  const { deadLetters } = await admin.listDeadLetters({});
  await skip(cases, deadLetters[0]!.eventId);
}

const way = "toDatabase";
const scene = { way, prepare, settle } as const;

test(
  "when a relay gives up one event and delivers a tombstone, and its connection to PostgreSQL is cut before or after any message, none is lost and none is told twice",
  { timeout },
  async () => {
    const attack: DeliveryAttack = {
      ...scene,
      startRelay: startRelayHere,
      fault: () => cutConnection,
      survives: true,
    };
    // Half a second each: a few of them in an ordinary run.
    const stride = killStride() === 1 ? 1 : 5 * killStride();
    const struck = await atEveryPoint([delivery], (on, point) => attackDelivery(on, attack, point), stride);
    expect(struck.length, struck.join("\n")).toBeGreaterThanOrEqual(Math.floor(120 / stride));
  },
);

test("when a relay is killed as it gives an event up, another one does, once", { timeout }, async () => {
  const attack: DeliveryAttack = {
    ...scene,
    startRelay: startRelayProcess,
    fault: (_stage, relay) => ({ strike: () => relay().kill(), recover: async () => {} }),
    counts: ({ side, text }) => side === "client" && text.startsWith("B") && text.includes("\0bury_event\0"),
    survives: false,
  };
  const struck = await atEveryPoint([delivery], (on, point) => attackDelivery(on, attack, point), onlyBefore);
  expect(struck).toEqual(["before client B bury_event"]);
});
