import { afterAll, beforeAll, expect, test } from "vitest";
import { attackAppend, type AppendStage } from "../support/crash-append.ts";
import type { Fault } from "../support/crash-attack.ts";
import { expectSoundLog } from "../support/crash-audited.ts";
import { atEveryPoint, killStride, type Point } from "../support/crash-points.ts";
import {
  cutConnection,
  newTenant,
  startAuditProcessVictim,
  startAuditVictim,
  terminateBackend,
} from "../support/crash-victims.ts";
import { cloneAuditDatabase, type AuditDatabase } from "../support/databases.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { createIssuer, type Issuer } from "../support/tokens.ts";

/*
 * The append, from message to message between audit service and PostgreSQL: what is read under the lock, and what is
 * written, in both directions. At each of them something dies.
 */

expectNoLeaks();

const stack = new AsyncDisposableStack();
let issuer: Issuer;
let database: AuditDatabase;

beforeAll(async () => {
  issuer = stack.use(await createIssuer());
  database = stack.use(await cloneAuditDatabase());
});
afterAll(() => stack.disposeAsync());

/** At least so many messages has an append: four reads and three writes, sent and answered. */
const messagesMin = 60;
/** Enough for a machine with little to spare. */
const timeout = 600_000;

const faults: readonly (readonly [string, () => Fault, () => number])[] = [
  ["the connection is cut", () => cutConnection, () => 1],
  ["the backend is terminated", () => terminateBackend(database.superuserUrl), killStride],
];

test.each(faults)(
  "when %s before or after any message of an append, the batch is stored whole or not at all, and sent again it is known",
  { timeout },
  async (_what, fault, stride) => {
    await using victim = await startAuditVictim(database, issuer);
    const stage = { superuserUrl: database.superuserUrl, victim, fault: fault(), tenant: newTenant() };
    expectReached(await atEveryPoint([stage], attackAppend, stride()), messagesMin / stride());
    await expectSoundLog(database);
  },
);

test(
  "when the audit service is killed before or after any message of an append, the batch is stored whole or not at all, and sent again it is known",
  { timeout },
  async () => {
    await using first = await startAuditProcessVictim(database, issuer);
    await using second = await startAuditProcessVictim(database, issuer);
    const stages = [first, second].map(({ victim, kill: fault }) => ({
      superuserUrl: database.superuserUrl,
      victim,
      fault,
      tenant: newTenant(),
    }));
    const attack = (stage: AppendStage, point: Point) => attackAppend(stage, point);
    expectReached(await atEveryPoint(stages, attack, killStride()), messagesMin / killStride());
    await expectSoundLog(database);
  },
);

/** Both sides of the commit were reached, and every message on the way. */
function expectReached(struck: readonly string[], countMin: number): void {
  expect(struck.length, struck.join("\n")).toBeGreaterThanOrEqual(2 * countMin);
  expect(new Set(struck.map((what) => what.split(": ")[1]))).toEqual(new Set(["done", "not done"]));
}
