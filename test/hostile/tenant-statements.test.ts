import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { laneOf } from "#services/case/domain/lane.ts";
import { effectOf, type Acting, type Effect } from "../support/attack-effect.ts";
import { statementFunctions, type Attack } from "../support/attack-statements.ts";
import { fillAuditStore, fillCaseStore, type AttackedStore } from "../support/attack-stores.ts";
import { expectNoLeaks } from "../support/leak-check.ts";

expectNoLeaks();

const stack = new AsyncDisposableStack();
let stores: readonly AttackedStore[];

beforeAll(async () => {
  stores = [stack.use(await fillCaseStore()), stack.use(await fillAuditStore())];
});
afterAll(() => stack.disposeAsync());

const services = ["case", "audit"] as const;
const insufficientPrivilege = "42501";
const tenantCondition = /\b(?:\w+\.)?tenant_id\s*=\s*(?:(\$\d+)(?:::\w+)?|\w+\.tenant_id)/g;

/** Each statement of a store's, with what runs it: statements of relay and signer are tried as the application, which has not their eyes. */
async function eachAttack(
  service: (typeof services)[number],
  judge: (attack: Attack, store: AttackedStore) => Promise<void>,
): Promise<void> {
  const store = stores.find((candidate) => candidate.service === service)!;
  for (const attack of store.attacks) await judge(attack, store);
}

const roles = { case: "case_app", audit: "audit_app" } as const;

/** What a statement does whose every condition on the tenant is true of any tenant. */
function withoutTenant({ make }: Attack, tenant: string) {
  const { text, values } = make(tenant);
  const broadened = text.replaceAll(tenantCondition, (_, parameter?: string) =>
    parameter === undefined ? "TRUE" : `${parameter}::text IS NOT NULL`,
  );
  return { text: broadened, values, isBroader: broadened !== text };
}

function run(
  { superuser, victim }: AttackedStore,
  acting: Acting,
  statement: Parameters<typeof effectOf>[2],
) {
  return effectOf(superuser, acting, statement, victim);
}

test.each(services)("every statement of the %s store is attacked here", async (service) => {
  const { attacks } = stores.find((store) => store.service === service)!;
  const attacked = new Set(attacks.map(({ name }) => name.split(" ")[0]));
  expect(attacked).toEqual(new Set(await statementFunctions(service)));
});

test.each(services)(
  "without the tenant in its WHERE, no statement of the %s store reaches another's rows",
  (service) =>
    eachAttack(service, async (attack, store) => {
      const { victim, attacker } = store;
      const statement = withoutTenant(attack, attacker);
      const text = attack.make(victim).text;
      const picks = statement.isBroader || !/^\s*(WITH\s+\w+\s+AS\s+\(\s*)?INSERT\b/.test(text);
      if (!picks || attack.role === "case_relay" || attack.role === "audit_signer") return;
      expect(statement.isBroader, `${attack.name} has a condition on the tenant`).toBe(true);

      const acting = { role: roles[service], tenant: attacker };
      const meant = await run(store, acting, attack.make(attacker));
      const reached = await run(store, acting, statement);
      expect(reached.changed, attack.name).toBe(false);
      expect(reached, attack.name).toEqual(meant);
      expect(
        await run(store, { role: roles[service] }, statement),
        `${attack.name}, no tenant`,
      ).toMatchObject({
        rows: [],
        changed: false,
      });

      // But for row-level security it would: the statement really is broader, and the victim's rows really are there.
      const unhindered = await run(store, {}, statement);
      expect(
        unhindered.changed || JSON.stringify(unhindered.rows) !== JSON.stringify(meant.rows),
        attack.name,
      ).toBe(true);
    }),
);

test.each(services)(
  "a statement of the %s store that names another tenant finds nothing and changes nothing",
  (service) =>
    eachAttack(service, async (attack, store) => {
      const { victim, attacker } = store;
      const statement = attack.make(victim);
      for (const tenant of [attacker, "", undefined]) {
        const acting = { role: roles[service], ...(tenant !== undefined && { tenant }) };
        const effect = await run(store, acting, statement);
        // What a statement of the relay's names or counts, which is every tenant's, is here the caller's own at most.
        const own = await countOwn(store, tenant ?? "");
        const rows = effect.rows.filter((row) => !isOwn(row as RelayRow, attacker, own));
        expectNothing({ ...effect, rows }, `${attack.name} for ${tenant}`);
      }
      const allowed = await run(store, { role: attack.role, tenant: victim }, statement);
      expect(allowed.refused, attack.name).toBeUndefined();
      if (!attack.idle)
        expect(allowed.changed || allowed.rows.length > 0, `${attack.name} for the victim`).toBe(true);
    }),
);

/** What a row tells of what the relay sees: whose it is, or only the lane, or how many there are. */
interface RelayRow extends Partial<Backlog> {
  readonly tenant_id?: string;
  readonly lane?: number;
}

interface Backlog {
  readonly pending: number;
  readonly dead_letters: number;
}

function isOwn(row: RelayRow, tenant: string, own: Backlog): boolean {
  if (row.pending !== undefined) return row.pending === own.pending;
  if (row.dead_letters !== undefined) return row.dead_letters === own.dead_letters;
  return row.tenant_id === tenant || row.lane === laneOf(createHash("sha256").update(tenant).digest());
}

/** What of one tenant waits, and what was given up; nothing in a store without an outbox. */
async function countOwn({ superuser, service }: AttackedStore, tenant: string): Promise<Backlog> {
  if (service === "audit") return { pending: 0, dead_letters: 0 };
  const { rows } = await superuser.query<Backlog>(
    `SELECT (SELECT count(*)::int FROM outbox WHERE tenant_id = $1) AS pending,
            (SELECT count(*)::int FROM dead_letters WHERE tenant_id = $1) AS dead_letters`,
    [tenant],
  );
  return rows[0]!;
}

function expectNothing({ refused, rows, changed }: Effect, told: string): void {
  expect([undefined, insufficientPrivilege], told).toContain(refused);
  expect({ rows, changed }, told).toEqual({ rows: [], changed: false });
}

test.each(services)("without a tenant the %s service's role sees no row of any table", async (service) => {
  const { superuser } = stores.find((store) => store.service === service)!;
  const tables = await superuser.query<{ name: string }>(
    `SELECT attrelid::regclass::text AS name FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
      WHERE attname = 'tenant_id' AND relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace`,
  );
  expect(tables.rows.length).toBeGreaterThan(2);
  for (const { name } of tables.rows) {
    const text = `SELECT 1 FROM ${name}`;
    const all = await effectOf(superuser, {}, { text, values: [] }, "nobody");
    expect(all.rows.length, `${name} has rows`).toBeGreaterThan(0);
    for (const tenant of [undefined, "", "nobody", "'; RESET ROLE; --".replaceAll("'", "''"), "%", "*"]) {
      const acting = { role: roles[service], ...(tenant !== undefined && { tenant }) };
      expectNothing(
        await effectOf(superuser, acting, { text, values: [] }, "nobody"),
        `${name} for ${tenant}`,
      );
    }
  }
});
