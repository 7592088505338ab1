import { afterAll, beforeAll, expect, test } from "vitest";
import type { Signer } from "#services/audit/signer/signer.ts";
import { attackAppend, type AppendStage } from "../support/crash-append.ts";
import type { Fault } from "../support/crash-attack.ts";
import { expectSoundLog } from "../support/crash-audited.ts";
import { atEveryPoint, killStride, type Point, type Struck } from "../support/crash-points.ts";
import {
  cutConnection,
  newTenant,
  startAuditProcessVictim,
  startAuditVictim,
  terminateBackend,
} from "../support/crash-victims.ts";
import { cloneAuditDatabase, type AuditDatabase } from "../support/databases.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { makeSigning, startSigner } from "../support/signing.ts";
import { openSuperuser } from "../support/superuser.ts";
import { createIssuer, type Issuer } from "../support/tokens.ts";
import { waitUntil } from "../support/wait-until.ts";

/*
 * The append, from message to message between audit service and PostgreSQL: what is read under the lock, and what is
 * written, in both directions. At each of them something dies. Meanwhile a signer seals what it sees: no checkpoint is
 * contradicted by what the log holds in the end.
 */

expectNoLeaks();

const stack = new AsyncDisposableStack();
let issuer: Issuer;
let database: AuditDatabase;
let signer: Signer;

beforeAll(async () => {
  issuer = stack.use(await createIssuer());
  database = stack.use(await cloneAuditDatabase());
  signer = stack.use(await startSigner(database, stack.use(await makeSigning())));
});
afterAll(() => stack.disposeAsync());

/** At least so many messages has an append: six reads and three writes, sent and answered. */
const messagesMin = 70;
/** Enough for a machine with little to spare. */
const timeout = 600_000;

const faults: readonly (readonly [string, () => Fault, () => number, fillsTile: boolean])[] = [
  ["the connection is cut", () => cutConnection, () => 1, false],
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
    expectReached(await atEveryPoint([stage], attackAndSeal, stride()), messagesMin / stride());
    await expectSealed(stage.tenant);
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
      fillsTile: true,
    }));
    expectReached(await atEveryPoint(stages, attackAndSeal, killStride()), messagesMin / killStride());
    for (const { tenant } of stages) await expectSealed(tenant);
  },
);

/** The signer is woken after each attack, and seals at most once a second: in the middle of one that comes later. */
async function attackAndSeal(stage: AppendStage, point: Point): Promise<Struck> {
  const struck = await attackAppend(stage, point);
  signer.wake(stage.tenant);
  return struck;
}

/** All is signed in the end, some of it was before, and every checkpoint is of what the log holds now. */
async function expectSealed(tenant: string): Promise<void> {
  await using superuser = await openSuperuser(database.superuserUrl);
  const signed = async () => {
    const { rows } = await superuser.query<{ count: number; last: number; size: number }>(
      `SELECT count(*)::int, max(c.tree_size)::int AS last, max(l.size)::int AS size
         FROM checkpoints AS c JOIN logs AS l USING (tenant_id) WHERE tenant_id = $1`,
      [tenant],
    );
    return rows[0]!;
  };
  await waitUntil(async () => (await signed()).last === (await signed()).size);
  expect((await signed()).count).toBeGreaterThan(1);
  await expectSoundLog(database);
}

/** Both sides of the commit were reached, and every message on the way. */
function expectReached(struck: readonly string[], countMin: number): void {
  expect(struck.length, struck.join("\n")).toBeGreaterThanOrEqual(2 * countMin);
  expect(new Set(struck.map((what) => what.split(": ")[1]))).toEqual(new Set(["done", "not done"]));
}
