import { afterAll, beforeAll, expect, test } from "vitest";
import { effectOf } from "../support/attack-effect.ts";
import type { Attack } from "../support/attack-statements.ts";
import { fillAuditStore, fillCaseStore, type AttackedStore } from "../support/attack-stores.ts";
import { expectNoLeaks } from "../support/leak-check.ts";

expectNoLeaks();

/* What docs/design.md, "Scale", asks of every statement, as PostgreSQL itself plans and runs it without row-level security. */

const stack = new AsyncDisposableStack();
const kinds = ["case", "audit"] as const;
let stores: Record<(typeof kinds)[number], AttackedStore>;

beforeAll(async () => {
  stores = { case: stack.use(await fillCaseStore()), audit: stack.use(await fillAuditStore()) };
});
afterAll(() => stack.disposeAsync());

/** A node of a plan, in the form of EXPLAIN. */
interface PlanNode {
  readonly "Node Type": string;
  readonly "Relation Name"?: string;
  readonly Alias?: string;
  readonly Plans?: readonly PlanNode[];
  readonly [condition: `${string} Cond` | `${string}Filter`]: string | undefined;
}

const conditionNames = [
  "Index Cond",
  "Recheck Cond",
  "Hash Cond",
  "Merge Cond",
  "TID Cond",
  "Filter",
  "Join Filter",
] as const;

/** Tables that are read without a condition on the tenant, on the table itself or on the way up from it. */
function unboundScans(node: PlanNode, above = ""): readonly string[] {
  const conditions = conditionNames.map((name) => node[name] ?? "").join(" ");
  const table = node["Relation Name"];
  const isScan = table !== undefined && node["Node Type"].endsWith("Scan");
  const alias = node.Alias ?? table ?? "";
  const isBound = /\btenant_id\b/.test(conditions) || above.includes(`${alias}.tenant_id`);
  const below = (node.Plans ?? []).flatMap((plan) => unboundScans(plan, `${above} ${conditions}`));
  return isScan && !isBound ? [alias, ...below] : below;
}

async function planOf({ superuser, victim }: AttackedStore, { make }: Attack): Promise<PlanNode> {
  const { text, values } = make(victim);
  const { rows } = await superuser.query(`EXPLAIN (FORMAT JSON, VERBOSE) ${text}`, [...values]);
  return rows[0]["QUERY PLAN"][0].Plan;
}

/** Over every tenant, by design, beside lanes and answers that have expired: logs that are to be signed, and what metrics tell. */
const forAllTenants = ["listSignedLogs", "countPending", "countDeadLetters"];

function readsLanes({ name, make }: Attack): boolean {
  if (forAllTenants.includes(name)) return true;
  return /^\s*SELECT (DISTINCT )?((lane|tenant_id) FROM outbox|tenant_id, principal_id, request_id FROM recorded_answers)\b(?!.*\b(JOIN|UPDATE|DELETE|INSERT)\b)/.test(
    make("x").text,
  );
}

test.each(kinds)("every statement of the %s store reads by tenant, whatever table it reads", async (kind) => {
  const store = stores[kind];
  for (const attack of store.attacks) {
    if (!readsLanes(attack)) expect(unboundScans(await planOf(store, attack)), attack.name).toEqual([]);
  }
});

test.each(kinds)("every statement of the %s store that writes touches one tenant", async (kind) => {
  const { superuser, victim, attacker, attacks } = stores[kind];
  for (const { name, make } of attacks) {
    const { refused, changed } = await effectOf(superuser, {}, make(victim), attacker);
    expect({ refused, changed }, name).toEqual({ refused: undefined, changed: false });
  }
});

test.each(kinds)(
  "no statement of the %s store asks the database for ids, chance, sequences or locks of its own",
  (kind) => {
    const forbidden =
      /uuidv7|gen_random|random\(|nextval|setval|set_config|advisory|pg_notify|NOTIFY|LISTEN|LOCK TABLE/i;
    const { attacks, victim } = stores[kind];
    expect(attacks.filter(({ make }) => forbidden.test(make(victim).text)).map(({ name }) => name)).toEqual(
      [],
    );
  },
);

/** When an event was received is told by the audit database; all other times come from the service's clock. */
test.each([
  ["case", []],
  ["audit", ["insertEvents"]],
] as const)("of the %s store %j asks the database for the time", (kind, askers) => {
  const clock = /\bnow\(|_timestamp\b|current_(date|time)\b|localtime|timeofday|'now'/i;
  const { attacks, victim } = stores[kind];
  const asking = attacks.filter(({ make }) => clock.test(make(victim).text)).map(({ name }) => name);
  expect(asking).toEqual(askers);
});

test("the plan of a statement without its tenant would show", async () => {
  const { superuser, victim } = stores.case;
  for (const text of [
    "SELECT * FROM cases WHERE case_id = $1",
    "UPDATE cases SET version = 1 WHERE case_id = $1",
    "SELECT * FROM cases c JOIN audit_entries e USING (case_id) WHERE c.tenant_id = 'x' AND case_id = $1",
  ]) {
    const attack: Attack = {
      name: text,
      role: "case_app",
      make: () => ({ name: "", text, values: ["00000000-0000-0000-0000-000000000000"] }),
    };
    expect(unboundScans(await planOf({ ...stores.case, superuser, victim }, attack)), text).not.toEqual([]);
  }
});
