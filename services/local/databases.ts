import { type Client, escapeIdentifier } from "pg";

import { openSession } from "#libs/pg/session.ts";

/** Who owns each database and migrates it, and who else may connect to it and owns nothing. */
export const databaseRoles = {
  case: { owner: "case_owner", users: ["case_app", "case_relay"] },
  audit: { owner: "audit_owner", users: ["audit_app", "audit_signer"] },
} as const;

export type DatabaseKind = keyof typeof databaseRoles;

const kinds: readonly DatabaseKind[] = ["case", "audit"];
const connectTimeoutMs = 10_000;

/**
 * Makes what is missing of the roles and of the two databases, named by `names`, and sets their rights anew. What
 * tables the roles may touch is the migrations' business.
 *
 * Can be repeated at any time; two at once on one server may get into each other's way.
 */
export async function createDatabases(
  superuserUrl: string,
  names: Readonly<Record<DatabaseKind, string>>,
): Promise<void> {
  await using session = await openSuperuserSession(superuserUrl);
  for (const kind of kinds) {
    const { owner, users } = databaseRoles[kind];
    for (const role of [owner, ...users]) await createRole(session, role);
    await createDatabase(session, names[kind], owner);
    await grantConnect(session, kind, names[kind]);
    await using inside = await openSuperuserSession(withDatabase(superuserUrl, names[kind]));
    await grantSchema(inside, kind);
  }
}

/** Lets the roles of `kind` connect to `database` and nobody else: a database made from a template starts without. */
export async function grantConnect(session: Client, kind: DatabaseKind, database: string): Promise<void> {
  const name = escapeIdentifier(database);
  await session.query(`REVOKE CONNECT, TEMPORARY ON DATABASE ${name} FROM PUBLIC`);
  await session.query(`GRANT CONNECT ON DATABASE ${name} TO ${databaseRoles[kind].users.join(", ")}`);
}

/** The same connection string with another database, and with another user if one is given; both are plain names. */
export function withDatabase(url: string, database: string, user?: string): string {
  const parts = /^(?<scheme>\w+:\/\/)(?<login>[^@/?]*@)?(?<host>[^/?]*)(?:\/[^?]*)?(?<query>\?.*)?$/.exec(
    url,
  )?.groups;
  if (parts === undefined) throw new Error("not a connection string"); // It may hold a password: not shown.
  const login = user === undefined ? (parts["login"] ?? "") : `${encodeURIComponent(user)}@`;
  const path = encodeURIComponent(database);
  return `${parts["scheme"]}${login}${parts["host"]}/${path}${parts["query"] ?? ""}`;
}

/** A session of the superuser, to be closed by its caller. */
export function openSuperuserSession(url: string): Promise<Client & AsyncDisposable> {
  return openSession({ url, applicationName: "databases", connectTimeoutMs, onError: ignore });
}

/** Of a connection that dies: its query fails, and says so. */
function ignore(): void {}

async function createRole(session: Client, role: string): Promise<void> {
  const { rowCount } = await session.query("SELECT FROM pg_roles WHERE rolname = $1", [role]);
  if (rowCount === 0) await session.query(`CREATE ROLE ${role}`);
  const rights = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS";
  await session.query(`ALTER ROLE ${role} ${rights}`);
}

async function createDatabase(session: Client, database: string, owner: string): Promise<void> {
  const { rowCount } = await session.query("SELECT FROM pg_database WHERE datname = $1", [database]);
  if (rowCount === 0) await session.query(`CREATE DATABASE ${escapeIdentifier(database)} OWNER ${owner}`);
}

/** The schema belongs to the database's owner, who keeps every right in it. */
async function grantSchema(session: Client, kind: DatabaseKind): Promise<void> {
  await session.query("REVOKE ALL ON SCHEMA public FROM PUBLIC");
  await session.query(`GRANT USAGE ON SCHEMA public TO ${databaseRoles[kind].users.join(", ")}`);
}
