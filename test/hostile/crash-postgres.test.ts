import { afterAll, beforeAll, expect, test } from "vitest";
import { startAuditService, type AuditServiceFixture } from "../support/audit-service.ts";
import { attackWrite, type CaseVictim, type Fault } from "../support/crash-attack.ts";
import { expectAudited } from "../support/crash-audited.ts";
import { attackBurst, connections, type BurstPoint } from "../support/crash-burst.ts";
import { atEveryPoint, killStride } from "../support/crash-points.ts";
import { startMortalPostgres, type MortalPostgres } from "../support/crash-postgres.ts";
import { isSealed, startSealer, storedNotes } from "../support/crash-sealed.ts";
import {
  newTenant,
  startAuditVictim,
  startProcessVictim,
  startVictim,
  terminateBackends,
} from "../support/crash-victims.ts";
import { writes } from "../support/crash-write.ts";
import { makeEvent } from "../support/events.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { makeSigning, startSigner } from "../support/signing.ts";
import { openSuperuser } from "../support/superuser.ts";
import { createIssuer, type Issuer } from "../support/tokens.ts";
import { waitUntil } from "../support/wait-until.ts";

/*
 * PostgreSQL itself is killed, with all its processes, at the messages of a write and of an append; and in the middle of up
 * to 500 writes at once the service, PostgreSQL, or every connection dies.
 */

expectNoLeaks();

const stack = new AsyncDisposableStack();
let issuer: Issuer;
let postgres: MortalPostgres;
let audit: AuditServiceFixture;

beforeAll(async () => {
  issuer = stack.use(await createIssuer());
  postgres = stack.use(await startMortalPostgres());
  await using superuser = await openSuperuser(postgres.audit.superuserUrl);
  // Somebody was told that this is faster: what is committed may be lost, and must not have been signed.
  await superuser.query(`ALTER DATABASE ${postgres.audit.name} SET synchronous_commit = off`);
  await superuser.query("ALTER SYSTEM SET wal_writer_delay = '10s'"); // The longest that it may take to the disk then.
  await superuser.query("SELECT pg_reload_conf()");
  audit = stack.use(await startAuditService({ issuer, database: postgres.audit }));
});
afterAll(() => stack.disposeAsync());

/** Enough for a machine with little to spare. */
const timeout = 600_000;

test(
  "when PostgreSQL is killed before or after any message of a write, it is there whole or not at all, and a retry settles it",
  { timeout },
  async () => {
    const { cases, kill } = postgres;
    await using victim = await startVictim(cases, issuer);
    const stage = { superuserUrl: cases.superuserUrl, victim, fault: kill, tenant: newTenant() };
    const struck = await atEveryPoint(
      [stage],
      (on, point) => attackWrite(on, writes.approve, point),
      killStride(),
    );
    expect(struck.length, struck.join("\n")).toBeGreaterThanOrEqual((2 * 30) / killStride());
    await expectAudited({ database: cases, audit, issuer });
  },
);

test(
  "when PostgreSQL is killed before or after any message of an append, the batch is stored whole or not at all, sent again it is known, and no checkpoint is contradicted",
  { timeout },
  async () => {
    const { superuserUrl } = postgres.audit;
    await using signing = await makeSigning();
    await using sealer = await startSealer(postgres.audit, signing);
    await using victim = await startAuditVictim(postgres.audit, issuer);
    const stage = { superuserUrl, victim, fault: postgres.kill, tenant: newTenant(), fillsTile: true };
    const struck = await atEveryPoint([stage], sealer.attack, killStride());
    expect(struck.length, struck.join("\n")).toBeGreaterThanOrEqual((2 * 60) / killStride());
    await sealer.expectSealed(stage.tenant);
  },
);

test(
  "a checkpoint that was published is there when PostgreSQL is killed a moment later and its signer has gone",
  { timeout },
  async () => {
    const tenant = newTenant();
    await using signing = await makeSigning();
    const source = await audit.source();
    await source.recordEvents({ events: [makeEvent({ tenantId: tenant }).bytes] });
    {
      await using signer = await startSigner(postgres.audit, signing);
      signer.wake(tenant);
      await waitUntil(() => isSealed(postgres.audit, tenant));
    }
    await postgres.kill.strike(undefined as never); // It asks for nothing of what it strikes at.
    await postgres.kill.recover();
    expect(await storedNotes(postgres.audit, tenant)).toEqual([await signing.lastNote(tenant)]);
  },
);

interface Burst extends AsyncDisposable {
  readonly victim: CaseVictim;
  readonly fault: Fault;
}

const bursts: Readonly<Record<string, () => Promise<Burst>>> = {
  async "the service is killed"() {
    const {
      victim,
      kill,
      [Symbol.asyncDispose]: dispose,
    } = await startProcessVictim(postgres.cases, issuer, connections);
    return { victim, fault: kill, [Symbol.asyncDispose]: dispose };
  },
  async "PostgreSQL is killed"() {
    const victim = await startVictim(postgres.cases, issuer, connections);
    return { victim, fault: postgres.kill, [Symbol.asyncDispose]: victim[Symbol.asyncDispose] };
  },
  async "every backend is terminated"() {
    const victim = await startVictim(postgres.cases, issuer, connections);
    const fault = terminateBackends(postgres.cases.superuserUrl);
    return { victim, fault, [Symbol.asyncDispose]: victim[Symbol.asyncDispose] };
  },
};

const isCampaign = killStride() === 1;
const points: readonly BurstPoint[] = isCampaign
  ? ["none is answered", "half are answered"]
  : ["none is answered"];
/** An ordinary run has them all in flight once. */
const writesCountOf = (what: string): number => (isCampaign || what === "the service is killed" ? 500 : 100);

test.each(
  Object.entries(bursts).flatMap(([what, start]) =>
    points.map((point) => [what, writesCountOf(what), point, start] as const),
  ),
)(
  "when %s while %d writes are in flight and %s, each takes effect once",
  { timeout },
  async (_what, writesCount, point, start) => {
    await using burst = await start();
    await attackBurst({ ...burst, superuserUrl: postgres.cases.superuserUrl }, writesCount, point);
    await expectAudited({ database: postgres.cases, audit, issuer });
  },
);
