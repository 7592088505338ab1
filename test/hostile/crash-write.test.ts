import { afterAll, beforeAll, expect, test } from "vitest";
import { startAuditService, type AuditServiceFixture } from "../support/audit-service.ts";
import { attackWrite, type Fault } from "../support/crash-attack.ts";
import { expectAudited } from "../support/crash-audited.ts";
import { atEveryPoint, cutStride, killStride, type Point } from "../support/crash-points.ts";
import {
  cutConnection,
  newTenant,
  startProcessVictim,
  startVictim,
  terminateBackend,
} from "../support/crash-victims.ts";
import { writes } from "../support/crash-write.ts";
import { cloneCaseDatabase, type CaseDatabase } from "../support/databases.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { createIssuer, type Issuer } from "../support/tokens.ts";

/*
 * The write path, from message to message between case service and PostgreSQL: the load's and the commit's, in both
 * directions. At each of them something dies.
 */

expectNoLeaks();

const stack = new AsyncDisposableStack();
let issuer: Issuer;
let audit: AuditServiceFixture;
let database: CaseDatabase;

beforeAll(async () => {
  issuer = stack.use(await createIssuer());
  audit = stack.use(await startAuditService({ issuer }));
  database = stack.use(await cloneCaseDatabase());
});
afterAll(() => stack.disposeAsync());

/** At least so many messages has a write: the load's and the commit's, sent and answered. */
const messagesMin = 30;
/** Enough for a machine with little to spare. */
const timeout = 600_000;

const attacks: readonly (readonly [string, keyof typeof writes, () => Fault, () => number])[] = [
  ["the connection is cut", "create", () => cutConnection, killStride],
  ["the connection is cut", "submit", () => cutConnection, killStride],
  ["the connection is cut", "approve", () => cutConnection, cutStride],
  ["the backend is terminated", "approve", () => terminateBackend(database.superuserUrl), killStride],
];

test.each(attacks)(
  "when %s before or after any message of a write (%s), it is there whole or not at all, and a retry settles it",
  { timeout },
  async (_what, name, fault, stride) => {
    await using victim = await startVictim(database, issuer);
    const stage = { superuserUrl: database.superuserUrl, victim, fault: fault(), tenant: newTenant() };
    const struck = await atEveryPoint([stage], (on, point) => attackWrite(on, writes[name], point), stride());
    expectReached(struck, messagesMin / stride());
  },
);

test(
  "when the service is killed before or after any message of a write, it is there whole or not at all, and a retry settles it",
  { timeout },
  async () => {
    await using victims = new AsyncDisposableStack();
    const victimsCount = killStride() === 1 ? 2 : 1; // Each has a process to start besides those that are killed.
    const killables = Array.from({ length: victimsCount }, async () =>
      victims.use(await startProcessVictim(database, issuer)),
    );
    const stages = (await Promise.all(killables)).map(({ victim, kill: fault }) => ({
      superuserUrl: database.superuserUrl,
      victim,
      fault,
      tenant: newTenant(),
    }));
    const attack = (stage: (typeof stages)[0], point: Point) => attackWrite(stage, writes.approve, point);
    expectReached(await atEveryPoint(stages, attack, killStride()), messagesMin / killStride());
  },
);

test("of all these writes the audit service gets one event each, in order", { timeout }, async () => {
  await expectAudited({ database, audit, issuer });
});

/** Both sides of the commit were reached, and every message on the way. */
function expectReached(struck: readonly string[], countMin: number): void {
  expect(struck.length, struck.join("\n")).toBeGreaterThanOrEqual(2 * countMin);
  expect(new Set(struck.map((what) => what.split(": ")[1]))).toEqual(new Set(["done", "not done"]));
}
