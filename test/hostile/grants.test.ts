import type pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { changingColumns } from "#services/case/store/case-columns.ts";
import { databaseRoles, withDatabase } from "#services/local/databases.ts";
import { openAttackSession, type AttackSession } from "../support/attack-session.ts";
import { cloneAuditDatabase, cloneCaseDatabase, type TestDatabase } from "../support/databases.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { openSuperuser } from "../support/superuser.ts";

expectNoLeaks();

const names = (columns: readonly { readonly name: string }[]) => columns.map(({ name }) => name);

/** All that anybody but the owner may do: what is not here is refused. */
const allowed = {
  case: [
    "case_app: SELECT, INSERT cases",
    `case_app: UPDATE(${names(changingColumns).concat("version").toSorted().join(", ")}) cases`,
    "case_app: SELECT, INSERT case_contents",
    "case_app: UPDATE(content, salt) case_contents",
    "case_app: SELECT, INSERT case_policies",
    "case_app: SELECT, INSERT audit_entries",
    "case_app: SELECT, INSERT approvals",
    "case_app: SELECT, INSERT recorded_answers",
    "case_app: UPDATE(answer, expires_at, request_hash) recorded_answers",
    "case_app: SELECT, INSERT outbox",
    "case_app: SELECT, DELETE dead_letters",
    "case_app: SELECT, INSERT tombstones",
    "case_app: SELECT, INSERT, DELETE rate_buckets",
    "case_app: UPDATE(full_at) rate_buckets",
    "case_relay: SELECT, DELETE outbox",
    "case_relay: SELECT, INSERT dead_letters",
    "case_relay: SELECT tombstones",
    "case_relay: SELECT audit_entries",
    "case_relay: SELECT(expires_at, principal_id, request_id, tenant_id) recorded_answers",
    "case_relay: DELETE recorded_answers",
  ],
  audit: [
    "audit_app: SELECT, INSERT events",
    "audit_app: SELECT, INSERT logs",
    "audit_app: UPDATE(size, tree_edge, tree_size) logs",
    "audit_app: SELECT, INSERT access_log",
    "audit_app: SELECT, INSERT subject_heads",
    "audit_app: UPDATE(last_digest, last_sequence) subject_heads",
    "audit_app: SELECT, INSERT tiles",
    "audit_app: SELECT checkpoints",
    "audit_app: SELECT verifier_keys",
    "audit_app: SELECT, INSERT, DELETE rate_buckets",
    "audit_app: UPDATE(full_at) rate_buckets",
    "audit_signer: SELECT logs",
    "audit_signer: SELECT(bytes, leaf_index, tenant_id) events",
    "audit_signer: SELECT tiles",
    "audit_signer: SELECT, INSERT checkpoints",
    "audit_signer: SELECT, INSERT verifier_keys",
  ],
} as const;

const kinds = ["case", "audit"] as const;
type Kind = (typeof kinds)[number];
const everyRole = [...databaseRoles.case.users, ...databaseRoles.audit.users];
const insufficientPrivilege = "42501";

const stack = new AsyncDisposableStack();
let databases: Record<Kind, TestDatabase>;
let superusers: Record<Kind, pg.Client>;

beforeAll(async () => {
  databases = { case: stack.use(await cloneCaseDatabase()), audit: stack.use(await cloneAuditDatabase()) };
  superusers = {
    case: stack.use(await openSuperuser(databases.case.superuserUrl)),
    audit: stack.use(await openSuperuser(databases.audit.superuserUrl)),
  };
});
afterAll(() => stack.disposeAsync());

function openRole(kind: Kind, role: string): Promise<AttackSession> {
  return openAttackSession(withDatabase(databases[kind].appUrl, databases[kind].name, role));
}

/** What each role may do with each table, view and sequence outside of the system's schemas, as PostgreSQL judges it. */
async function readMatrix(kind: Kind): Promise<readonly string[]> {
  const { rows } = await superusers[kind].query<{ line: string }>(
    `WITH relations AS (
       SELECT oid, oid::regclass::text AS name FROM pg_class
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
          AND relnamespace::regnamespace::text NOT LIKE 'pg_toast%'
     ), whole AS (
       SELECT role, name, string_agg(privilege, ', ' ORDER BY ordinal) AS list
         FROM relations, unnest($1::text[]) AS role, unnest($2::text[]) WITH ORDINALITY AS p (privilege, ordinal)
        WHERE has_table_privilege(role, oid, privilege) GROUP BY role, name
     ), part AS (
       SELECT role, name, privilege || '(' || string_agg(attname, ', ' ORDER BY attname) || ')' AS list
         FROM relations JOIN pg_attribute ON attrelid = relations.oid AND attnum > 0 AND NOT attisdropped,
              unnest($1::text[]) AS role, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS privilege
        WHERE has_column_privilege(role, relations.oid, attnum, privilege)
          AND NOT has_table_privilege(role, relations.oid, privilege) GROUP BY role, name, privilege
     )
     SELECT role || ': ' || list || ' ' || name AS line FROM whole UNION ALL SELECT role || ': ' || list || ' ' || name FROM part`,
    [everyRole, await tablePrivileges(kind)],
  );
  return rows.map(({ line }) => line).toSorted();
}

async function tablePrivileges(kind: Kind): Promise<readonly string[]> {
  const { rows } = await superusers[kind].query<{ maintain: boolean }>(
    "SELECT current_setting('server_version_num')::int >= 170000 AS maintain",
  );
  const always = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"];
  return rows[0]?.maintain ? [...always, "MAINTAIN"] : always;
}

test.each(kinds)(
  "in the %s database each role may do what it is meant to do, and nothing else",
  async (kind) => {
    expect(await readMatrix(kind)).toEqual([...allowed[kind]].toSorted());
  },
);

async function tablesOf(kind: Kind): Promise<readonly string[]> {
  const sql = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1";
  return (await superusers[kind].query<{ tablename: string }>(sql)).rows.map(({ tablename }) => tablename);
}

const attempts: Readonly<Record<string, (table: string) => string>> = {
  SELECT: (table) => `SELECT 1 FROM ${table}`,
  UPDATE: (table) => `UPDATE ${table} SET ${table === "schema_migrations" ? "name" : "tenant_id"} = 'x'`,
  DELETE: (table) => `DELETE FROM ${table}`,
  TRUNCATE: (table) => `TRUNCATE ${table}`,
  "TRUNCATE CASCADE": (table) => `TRUNCATE ${table} CASCADE`,
};

test.each(kinds.flatMap((kind) => databaseRoles[kind].users.map((role) => ({ kind, role }))))(
  "$role is refused, in fact, whatever it has no grant for",
  async ({ kind, role }) => {
    await using session = await openRole(kind, role);
    for (const table of await tablesOf(kind)) {
      for (const [privilege, write] of Object.entries(attempts)) {
        const grants = allowed[kind].filter(
          (line) => line.startsWith(`${role}:`) && line.endsWith(` ${table}`),
        );
        // Whoever may read some columns may count the rows.
        const whole = privilege === "SELECT" ? "" : String.raw`(?!\()`;
        const granted = new RegExp(String.raw`\b${privilege}\b${whole}`).test(grants.join(" "));
        const outcome = await session.attempt(write(table), "acme");
        expect(outcome, write(table)).toBe(granted ? "done 0" : insufficientPrivilege);
      }
    }
  },
);

test("no role is a member of another, owns anything, or passes row-level security", async () => {
  for (const kind of kinds) {
    const { rows } = await superusers[kind].query(
      `SELECT rolname FROM pg_roles WHERE rolname = ANY ($1)
          AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)
       UNION ALL SELECT member::regrole::text FROM pg_auth_members WHERE member::regrole::text = ANY ($1)
       UNION ALL SELECT relowner::regrole::text FROM pg_class WHERE relowner::regrole::text = ANY ($1)
       UNION ALL SELECT nspowner::regrole::text FROM pg_namespace WHERE nspowner::regrole::text = ANY ($1)
       UNION ALL SELECT proowner::regrole::text FROM pg_proc WHERE proowner::regrole::text = ANY ($1)`,
      [everyRole],
    );
    expect(rows).toEqual([]);
  }
});

test("nobody has a function of ours to run: none could lend its owner's rights", async () => {
  for (const kind of kinds) {
    const { rows } = await superusers[kind].query(
      "SELECT proname FROM pg_proc WHERE pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)",
    );
    expect(rows).toEqual([]);
  }
});
