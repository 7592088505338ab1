import type pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cloneAuditDatabase, cloneCaseDatabase } from "../support/databases.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { openSuperuser } from "../support/superuser.ts";

expectNoLeaks();

/* What docs/design.md, "Scale", asks of both schemas, read from the catalogue. The migrator's own table is nobody's business. */

const kinds = ["case", "audit"] as const;
const stack = new AsyncDisposableStack();
let clients: Record<(typeof kinds)[number], pg.Client>;

beforeAll(async () => {
  const [ofCase, ofAudit] = [stack.use(await cloneCaseDatabase()), stack.use(await cloneAuditDatabase())];
  clients = {
    case: stack.use(await openSuperuser(ofCase.superuserUrl)),
    audit: stack.use(await openSuperuser(ofAudit.superuserUrl)),
  };
});
afterAll(() => stack.disposeAsync());

/** Tables of tenants, in SQL. */
const tables = `
  SELECT oid, relname AS name, relrowsecurity, relforcerowsecurity FROM pg_class
   WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace AND relname <> 'schema_migrations'`;

async function read(kind: (typeof kinds)[number], text: string): Promise<readonly Record<string, unknown>[]> {
  return (await clients[kind].query<Record<string, unknown>>(`WITH tables AS (${tables}) ${text}`)).rows;
}

test.each(kinds)("every table of the %s database says whose its rows are", async (kind) => {
  const owned = await read(
    kind,
    `SELECT name FROM tables JOIN pg_attribute ON attrelid = tables.oid
      WHERE attname = 'tenant_id' AND atttypid = 'text'::regtype AND attnotnull`,
  );
  const all = await read(kind, "SELECT name FROM tables");
  expect(all.length).toBeGreaterThan(2);
  expect(owned).toEqual(expect.arrayContaining([...all]));
});

test.each(kinds)("tenant_id leads every key of the %s database", async (kind) => {
  const keys = await read(
    kind,
    `SELECT name, conname AS key, column_of.attname AS leads, referred.attname AS refers_to
       FROM tables JOIN pg_constraint ON conrelid = tables.oid AND contype IN ('p', 'u', 'f', 'x')
       JOIN pg_attribute column_of ON column_of.attrelid = conrelid AND column_of.attnum = conkey[1]
       LEFT JOIN pg_attribute referred ON referred.attrelid = confrelid AND referred.attnum = confkey[1]
      UNION ALL
     SELECT name, indexrelid::regclass::text, attname, NULL
       FROM tables JOIN pg_index ON indrelid = tables.oid AND indisunique
       JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]`,
  );
  expect(keys.length).toBeGreaterThan(6);
  const wrong = keys.filter(
    ({ leads, refers_to: to }) => leads !== "tenant_id" || (to !== null && to !== "tenant_id"),
  );
  expect(wrong).toEqual([]);
  const keyless = await read(
    kind,
    "SELECT name FROM tables WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = tables.oid AND contype = 'p')",
  );
  expect(keyless).toEqual([]);
});

/** A default that says one thing for ever, in SQL: a literal, without a call. */
const constant = "'^(''[a-z_{}]*''::text(\\[\\])?|''\\\\x''::bytea|[0-9]+|true|false)$'";

/**
 * The one exception, in SQL: entries bear the id of their transaction, whichever release writes them. It is what watches go by,
 * and not part of the record; a watch is not offered on Citus, where ids differ from node to node.
 */
const transactionId = `name = 'audit_entries' AND pg_get_expr(adbin, adrelid) = 'pg_current_xact_id()'`;

test.each(kinds)(
  "the %s database makes nothing up by itself: no triggers, sequences, defaults or functions",
  async (kind) => {
    const found = await read(
      kind,
      `SELECT 'trigger ' || tgname AS what FROM pg_trigger WHERE NOT tgisinternal
      UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
      UNION ALL SELECT 'rule ' || rulename FROM pg_rewrite JOIN tables ON ev_class = tables.oid
      UNION ALL SELECT 'sequence ' || relname FROM pg_class WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace
      UNION ALL SELECT 'view ' || relname FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace
      UNION ALL SELECT 'identity ' || name || '.' || attname FROM tables JOIN pg_attribute ON attrelid = tables.oid WHERE attidentity <> ''
      UNION ALL SELECT 'default ' || name || ' ' || pg_get_expr(adbin, adrelid) FROM tables JOIN pg_attrdef ON adrelid = tables.oid
                 JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum AND attgenerated = ''
                 WHERE pg_get_expr(adbin, adrelid) !~ ${constant} AND NOT (${transactionId})
      UNION ALL SELECT 'function ' || proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
      UNION ALL SELECT 'extension ' || extname FROM pg_extension WHERE extname <> 'plpgsql'
      UNION ALL SELECT 'inheritance ' || name FROM tables JOIN pg_inherits ON inhrelid = tables.oid`,
    );
    expect(found).toEqual([]);
  },
);

test.each(kinds)("no rule of the %s database depends on a clock, on chance or on a session", async (kind) => {
  const rules = await read(
    kind,
    `SELECT conname AS name, pg_get_constraintdef(pg_constraint.oid) AS definition FROM tables JOIN pg_constraint ON conrelid = tables.oid
      UNION ALL SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM tables JOIN pg_index ON indrelid = tables.oid
      UNION ALL SELECT name || '.' || attname, pg_get_expr(adbin, adrelid) FROM tables JOIN pg_attrdef ON adrelid = tables.oid
                  JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum AND attgenerated <> ''`,
  );
  const fickle =
    /uuid_?v?\d?\w*\(|gen_random|random\(|now\(|timestamp\(|current_|session_|nextval|txid|xact/i;
  expect(rules.filter(({ definition }) => fickle.test(String(definition)))).toEqual([]);
});

const ofTenant = "(tenant_id = NULLIF(current_setting('app.tenant_id'::text, true), ''::text))";

test.each(kinds)("row-level security is forced on every table of the %s database", async (kind) => {
  const open = await read(kind, "SELECT name FROM tables WHERE NOT (relrowsecurity AND relforcerowsecurity)");
  expect(open).toEqual([]);
});

test.each(kinds)(
  "whoever has a grant on a table of the %s database has a policy there that knows the tenant",
  async (kind) => {
    const granted = await read(
      kind,
      `SELECT DISTINCT name, grantee::regrole::text AS role FROM tables JOIN pg_class USING (oid), aclexplode(relacl)
      WHERE grantee <> relowner
      UNION SELECT name, grantee::regrole::text FROM tables JOIN pg_attribute ON attrelid = tables.oid, aclexplode(attacl)`,
    );
    const policies = await read(
      kind,
      `SELECT name, role::regrole::text AS role, polname AS policy, polcmd AS command, polpermissive AS permissive,
            pg_get_expr(polqual, polrelid) AS using, pg_get_expr(polwithcheck, polrelid) AS check
       FROM tables JOIN pg_policy ON polrelid = tables.oid, unnest(polroles) AS role`,
    );
    const pair = ({ name, role }: Record<string, unknown>) => `${String(role)} on ${String(name)}`;
    expect(policies.map(pair)).toEqual(expect.arrayContaining(granted.map(pair)));
    for (const policy of policies) {
      // Relay and signer serve every tenant. Everybody else reads and writes one tenant's rows, on every command.
      if (["case_relay", "audit_signer"].includes(String(policy["role"]))) continue;
      expect(policy, pair(policy)).toMatchObject({
        command: "*",
        permissive: true,
        using: ofTenant,
        check: ofTenant,
      });
    }
  },
);
