import { createHash, randomUUID } from "node:crypto";
import type pg from "pg";
import { defaultRates, type RateLimits } from "#libs/service/limit-settings.ts";
import { laneOf } from "#services/case/domain/lane.ts";
import { loadCase, toStoredCase, type CaseRow } from "#services/case/store/cases.ts";
import { startAuditService } from "./audit-service.ts";
import { auditAttacks } from "./attack-audit-statements.ts";
import { caseAttacks, type VictimsCase } from "./attack-case-statements.ts";
import type { Attack } from "./attack-statements.ts";
import { openCase, setPolicy, startCaseService, tenant as victim } from "./case-service.ts";
import { cloneAuditDatabase, cloneCaseDatabase, type TestDatabase } from "./databases.ts";
import { makeChain } from "./events.ts";
import { untilSealed } from "./signing.ts";
import { openSuperuser } from "./superuser.ts";
import { waitUntil } from "./wait-until.ts";

/** A database with rows of two tenants in every table, which the service itself has written, and nobody writes any more. */
export interface AttackedStore extends AsyncDisposable {
  readonly service: "case" | "audit";
  readonly superuser: pg.Client;
  readonly victim: string;
  readonly attacker: string;
  readonly attacks: readonly Attack[];
}

const laneOfTenant = (tenant: string): number => laneOf(createHash("sha256").update(tenant).digest());
/** In the victim's lane, so that nothing but the tenant keeps the two apart. */
const attacker = Array.from({ length: 1_000 }, (_, index) => `${victim}-${index}`).find(
  (name) => laneOfTenant(name) === laneOfTenant(victim),
)!;

/** Calls are counted in the database, so that the table for it has rows too, however long it takes. */
const rates: RateLimits = { ...defaultRates, rateStore: "postgres", rateStoreTimeoutMs: 20_000 };

export async function fillCaseStore(): Promise<AttackedStore> {
  await using opened = new AsyncDisposableStack();
  const database = opened.use(await cloneCaseDatabase());
  {
    await using cases = await startCaseService({ database, config: { relay: "off", rates } });
    for (const tenant of [victim, attacker]) {
      await openCase(cases, "closed", tenant);
      await openCase(cases, "draft", tenant);
      await setPolicy(cases, "permit", tenant);
    }
    await setPolicy(cases, "permit", victim);
    await giveUp(database, "close");
    for (const tenant of [victim, attacker]) {
      const admin = await cases.admin(tenant);
      const { deadLetters } = await admin.listDeadLetters({});
      const { eventId } = deadLetters[0]!; // Of its one closed case.
      await admin.skipDeadLetter({ requestId: randomUUID(), eventId, reason: "it cannot be told" });
    }
    await giveUp(database, "submit");
  }
  const superuser = opened.use(await openSuperuser(database.superuserUrl));
  await waitUntil(async () => {
    const { rows } = await superuser.query<{ watched: boolean }>(
      "SELECT max(committed_in::text::bigint) < pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS watched FROM audit_entries",
    );
    return rows[0]!.watched; // Another file's long transaction, in whatever database, hides them from watches.
  });
  await superuser.query("UPDATE recorded_answers SET expires_at = now() - interval '1 hour'");
  const delivered = await superuser.query<{ event_id: string }>(
    "DELETE FROM outbox o USING audit_entries e WHERE e.event_id = o.event_id AND e.action = 'start_review' AND e.tenant_id = $1 RETURNING o.event_id",
    [victim],
  );
  const deliveredEventId = delivered.rows[0]!.event_id;
  return toStore(
    "case",
    opened,
    superuser,
    caseAttacks({ ...(await findDraft(superuser)), deliveredEventId }),
  );
}

/** Makes dead letters of the events that tell of `action`. */
async function giveUp({ superuserUrl }: TestDatabase, action: string): Promise<void> {
  await using superuser = await openSuperuser(superuserUrl);
  await superuser.query(
    `WITH waiting AS (DELETE FROM outbox USING audit_entries e
       WHERE outbox.tenant_id = e.tenant_id AND outbox.event_id = e.event_id AND e.action = $1 RETURNING outbox.*)
     INSERT INTO dead_letters (tenant_id, event_id, case_id, version, reason, detail, dead_at)
     SELECT tenant_id, event_id, case_id, version, 'REASON', 'detail', now() FROM waiting`,
    [action],
  );
}

async function findDraft(superuser: pg.Client): Promise<Omit<VictimsCase, "deliveredEventId">> {
  const found = await superuser.query(
    `SELECT case_id, principal_id, request_id, event_id, lane FROM cases
       JOIN audit_entries USING (tenant_id, case_id, version) JOIN outbox USING (tenant_id, event_id, case_id, version)
      WHERE tenant_id = $1 AND state = 'draft'`,
    [victim],
  );
  const {
    case_id: id,
    principal_id: principalId,
    request_id: requestId,
    event_id: eventId,
    lane,
  } = found.rows[0];
  const dead = await superuser.query<{ event_id: string }>(
    "SELECT event_id FROM dead_letters WHERE tenant_id = $1",
    [victim],
  );
  const deadEventId = dead.rows[0]!.event_id;
  const { text, values } = loadCase(victim, id);
  const { rows } = await superuser.query<CaseRow>(text, [...values]);
  return { draft: toStoredCase(rows[0]!).case, principalId, requestId, eventId, deadEventId, lane };
}

export async function fillAuditStore(): Promise<AttackedStore> {
  await using opened = new AsyncDisposableStack();
  const database = opened.use(await cloneAuditDatabase());
  const chain = makeChain(300, { tenantId: victim }); // More than a tile.
  {
    await using audit = await startAuditService({ database, signing: true, config: { rates } });
    const source = await audit.source();
    await source.recordEvents({ events: chain.map(({ bytes }) => bytes) });
    const own = makeChain(1, { tenantId: attacker });
    await source.recordEvents({ events: own.map(({ bytes }) => bytes) });
    for (const tenant of [victim, attacker]) await untilSealed(await audit.auditor(tenant));
    for (const tenant of [victim, attacker]) await (await audit.auditor(tenant)).listEvents({});
  }
  const superuser = opened.use(await openSuperuser(database.superuserUrl));
  const { rows } = await superuser.query(
    `SELECT event_id AS "eventId", source, subject, subject_sequence AS sequence, leaf_index + 1 AS size
       FROM events WHERE tenant_id = $1 ORDER BY leaf_index DESC LIMIT 1`,
    [victim],
  );
  const [last] = rows;
  const attacks = auditAttacks({ ...last, sequence: BigInt(last.sequence), size: BigInt(last.size) });
  return toStore("audit", opened, superuser, attacks);
}

function toStore(
  service: AttackedStore["service"],
  opened: AsyncDisposableStack,
  superuser: pg.Client,
  attacks: readonly Attack[],
): AttackedStore {
  const running = opened.move();
  return {
    service,
    superuser,
    victim,
    attacker,
    attacks,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}
