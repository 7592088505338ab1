import { afterAll, beforeAll, expect, test } from "vitest";
import type { Fault } from "../support/crash-attack.ts";
import { atEveryPoint, cutStride, killStride } from "../support/crash-points.ts";
import { startSealer, type Sealer } from "../support/crash-sealed.ts";
import {
  cutConnection,
  newTenant,
  startAuditProcessVictim,
  startAuditVictim,
  terminateBackend,
} from "../support/crash-victims.ts";
import { cloneAuditDatabase, type AuditDatabase } from "../support/databases.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { makeSigning } from "../support/signing.ts";
import { createIssuer, type Issuer } from "../support/tokens.ts";

/*
 * The append, from message to message between audit service and PostgreSQL: what is read under the lock, and what is
 * written, in both directions. At each of them something dies. Meanwhile a signer seals what it sees: no checkpoint that
 * anybody saw is contradicted by a later one, or by what the log holds in the end.
 */

expectNoLeaks();

const stack = new AsyncDisposableStack();
let issuer: Issuer;
let database: AuditDatabase;
let sealer: Sealer;

beforeAll(async () => {
  issuer = stack.use(await createIssuer());
  database = stack.use(await cloneAuditDatabase());
  sealer = stack.use(await startSealer(database, stack.use(await makeSigning())));
});
afterAll(() => stack.disposeAsync());

/** At least so many messages has an append: six reads and three writes, sent and answered. */
const messagesMin = 70;
/** Enough for a machine with little to spare. */
const timeout = 600_000;

const faults: readonly (readonly [string, () => Fault, () => number, fillsTile: boolean])[] = [
  ["the connection is cut", () => cutConnection, cutStride, false],
  ["the connection is cut while a tile is filled", () => cutConnection, killStride, true],
  ["the backend is terminated", () => terminateBackend(database.superuserUrl), killStride, true],
];

test.each(faults)(
  "when %s before or after any message of an append, the batch is stored whole or not at all, and sent again it is known",
  { timeout },
  async (_what, fault, stride, fillsTile) => {
    await using victim = await startAuditVictim(database, issuer);
    const { superuserUrl } = database;
    const stage = { superuserUrl, victim, fault: fault(), tenant: newTenant(), fillsTile };
    expectReached(await atEveryPoint([stage], sealer.attack, stride()), messagesMin / stride());
    await sealer.expectSealed(stage.tenant);
  },
);

test(
  "when the audit service is killed before or after any message of an append, the batch is stored whole or not at all, and sent again it is known",
  { timeout },
  async () => {
    await using victims = new AsyncDisposableStack();
    const victimsCount = killStride() === 1 ? 2 : 1; // Each has a process to start besides those that are killed.
    const killables = Array.from({ length: victimsCount }, async () =>
      victims.use(await startAuditProcessVictim(database, issuer)),
    );
    const stages = (await Promise.all(killables)).map(({ victim, kill: fault }) => ({
      superuserUrl: database.superuserUrl,
      victim,
      fault,
      tenant: newTenant(),
      fillsTile: true,
    }));
    expectReached(await atEveryPoint(stages, sealer.attack, killStride()), messagesMin / killStride());
    for (const { tenant } of stages) await sealer.expectSealed(tenant);
  },
);

/** Both sides of the commit were reached, and every message on the way. */
function expectReached(struck: readonly string[], countMin: number): void {
  expect(struck.length, struck.join("\n")).toBeGreaterThanOrEqual(2 * countMin);
  expect(new Set(struck.map((what) => what.split(": ")[1]))).toEqual(new Set(["done", "not done"]));
}
