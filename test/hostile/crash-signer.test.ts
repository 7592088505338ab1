import type pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createAuditClient, type AuditClient } from "#libs/client/audit-client.ts";
import { readCheckpoint } from "#libs/merkle/checkpoint.ts";
import { bareLimits } from "../support/bare-limits.ts";
import { strikeMs } from "../support/crash-attack.ts";
import { expectSoundLog } from "../support/crash-audited.ts";
import { postgresProtocol } from "../support/crash-messages.ts";
import { atEveryPoint, killStride, within, type Point, type Struck } from "../support/crash-points.ts";
import { startCrashProxy, type CrashProxy } from "../support/crash-proxy.ts";
import { auditSettings, newTenant, startKillable } from "../support/crash-victims.ts";
import { listenerOf, throughProxy } from "../support/cutting-proxy.ts";
import { testSource } from "../support/audit-service.ts";
import { cloneAuditDatabase, type AuditDatabase } from "../support/databases.ts";
import { makeChain } from "../support/events.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { logOrigin, makeSigning, type Signing } from "../support/signing.ts";
import { openSuperuser } from "../support/superuser.ts";
import { createIssuer, type Issuer } from "../support/tokens.ts";
import { waitUntil } from "../support/wait-until.ts";

/*
 * The signer, from message to message between it and PostgreSQL: what it reads, and the checkpoint that it stores. At each of
 * them its process is killed. Whatever it had signed by then, and nothing else, is what it goes on from.
 */

expectNoLeaks();

const stack = new AsyncDisposableStack();
let issuer: Issuer;
let database: AuditDatabase;
let signing: Signing;
let superuser: pg.Client;

beforeAll(async () => {
  issuer = stack.use(await createIssuer());
  database = stack.use(await cloneAuditDatabase());
  signing = stack.use(await makeSigning());
  superuser = stack.use(await openSuperuser(database.superuserUrl));
});
afterAll(() => stack.disposeAsync());

/** At least so many messages has a checkpoint: what there is, three tiles at most, and the insert, sent and answered. */
const messagesMin = 30;
const timeout = 600_000;

interface Stage {
  readonly proxy: CrashProxy;
  readonly service: Awaited<ReturnType<typeof startKillable>>;
  readonly tenant: string;
}

test(
  "a signer that is killed before or after any message of a checkpoint goes on from what it had signed, and contradicts none of it",
  { timeout },
  async () => {
    await using proxy = await startCrashProxy(postgresProtocol, listenerOf(database.signerUrl));
    const { signingKeys, signerHome } = signing.config(database);
    await using service = await startKillable(proxy, "services/audit/main.ts", {
      ...auditSettings(database.appUrl, issuer),
      AUDIT_SIGNER_DATABASE_URL: throughProxy(database.signerUrl, proxy),
      AUDIT_SIGNING_KEYS: signingKeys,
      AUDIT_SIGNER_HOME: signerHome,
      CASEFLOW_LOG_ORIGIN: logOrigin,
    });
    const stage = { proxy, service, tenant: newTenant() };
    const struck = await atEveryPoint([stage], attackSigner, killStride());
    expect(struck.length, struck.join("\n")).toBeGreaterThanOrEqual((2 * messagesMin) / killStride());
    // It was killed before the file was written, between file and database, and after both.
    expect(new Set(struck.map((what) => what.split(": ")[1]))).toEqual(
      new Set(["neither", "file", "file and database"]),
    );
    await expectSoundLog(database);
  },
);

/** Appends, lets the kill strike at the point, and checks what was signed by then, before and after the signer is back. */
async function attackSigner({ proxy, service, tenant }: Stage, point: Point): Promise<Struck> {
  await deliver(service.url(), tenant);
  await untilSealed(tenant);
  const before = await sizesOf(tenant);
  const strike = proxy.arm({
    ...point,
    counts: ({ opening }) => opening.includes(`app.tenant_id = '${tenant}'`),
    act: (struck) => service.kill.strike(struck),
  });
  await deliver(service.url(), tenant).catch(() => {}); // It may be killed before it answers.
  await waitUntil(async () => strike.struckAt !== undefined || (await isSealed(tenant)));
  const { struckAt } = strike;
  if (struckAt === undefined) {
    strike.disarm();
    return undefined;
  }
  await within(strikeMs, `the strike at ${struckAt}`, strike.over);

  const note = await signing.lastNote(tenant);
  const left = await sizesOf(tenant);
  expect(left.file, "nothing is in the database that the file has not").toBeGreaterThanOrEqual(left.stored);
  expect(left.stored).toBeGreaterThanOrEqual(before.stored);
  await service.kill.recover();
  await untilSealed(tenant);
  expect(await noteAt(tenant, left.file), "as it was signed the first time").toBe(note);
  expect((await sizesOf(tenant)).file).toBe((await sizesOf(tenant)).stored);
  const where =
    left.stored > before.stored ? "file and database" : left.file > before.file ? "file" : "neither";
  return `${struckAt}: ${where}`;
}

async function deliver(url: string, tenant: string): Promise<void> {
  const token = await issuer.token({
    sub: "test-relay",
    kind: "service",
    roles: ["event_source"],
    sources: [testSource],
  });
  await using client: AuditClient = createAuditClient({ url, token, limits: bareLimits });
  await client.recordEvents({ events: makeChain(3, { tenantId: tenant }).map(({ bytes }) => bytes) });
}

const untilSealed = (tenant: string): Promise<void> => waitUntil(() => isSealed(tenant));

async function isSealed(tenant: string): Promise<boolean> {
  const { rows } = await superuser.query<{ size: number }>(
    "SELECT size::int FROM logs WHERE tenant_id = $1",
    [tenant],
  );
  const { stored, file } = await sizesOf(tenant);
  return rows[0]?.size === stored && stored === file;
}

/** How many leaves the last checkpoint has, in the signer's folder and in the database. */
async function sizesOf(tenant: string): Promise<{ file: number; stored: number }> {
  const { rows } = await superuser.query<{ size: number | null }>(
    "SELECT max(tree_size)::int AS size FROM checkpoints WHERE tenant_id = $1",
    [tenant],
  );
  const note = await signing.lastNote(tenant);
  const file = note === "" ? 0 : readCheckpoint(note.slice(0, note.lastIndexOf("\n\n") + 1)).size;
  return { file, stored: rows[0]?.size ?? 0 };
}

async function noteAt(tenant: string, size: number): Promise<string | undefined> {
  const { rows } = await superuser.query<{ note: string }>(
    "SELECT note FROM checkpoints WHERE tenant_id = $1 AND tree_size = $2",
    [tenant, size],
  );
  return rows[0]?.note;
}
