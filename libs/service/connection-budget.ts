/*
 * Whether a service may open as many connections as it is set to, in all its replicas.
 *
 *   at the start          it does not start when they are too many; a database that cannot be asked then stops no start
 *   at the first answer   it is asked again: too many are an error line then, for it is at work already
 *
 * A server lets so many in: `max_connections` less what it reserves, and fewer where the database or the role has a CONNECTION
 * LIMIT. Each service counts its own; what else connects to the server is for whoever sets the limits. Through a pooler the
 * connections are the pooler's, which has limits that nobody here can ask for: they are not counted.
 */
import type { Client } from "pg";
import { openSession } from "#libs/pg/session.ts";
import { endsWithin } from "#libs/resilience/ends-within.ts";
import type { Log } from "#libs/telemetry/log.ts";

/** What opens connections, by the setting or the part that decides how many. */
export interface ConnectionUse {
  readonly what: string;
  readonly url: string;
  readonly count: number;
}

export interface BudgetOptions {
  /** Of a database's users, in one process. */
  readonly uses: readonly ConnectionUse[];
  /** How many such processes there are at a time, the surge of a rolling restart included. */
  readonly replicaCount: number;
  readonly log: Log;
}

/** Disposing it waits a second for a question under way, then cuts it off. */
export interface ConnectionBudget extends AsyncDisposable {
  /** To be called when the database has answered: asks what could not be asked before, and holds up nobody. */
  recheck(): void;
}

export class ConnectionBudgetError extends Error {
  override readonly name = "ConnectionBudgetError";
}

/** A database that does not answer holds up the start so long. */
export const budgetTimeoutMs = 2_000;
/** How long disposing waits for a question under way. */
const closeMs = 1_000;

/** Throws `ConnectionBudgetError`, with the numbers and what to change, when the database answers and the connections are too many. */
export async function checkConnectionBudget(options: BudgetOptions): Promise<ConnectionBudget> {
  const { log } = options;
  const closing = new AbortController();
  let known = true;
  try {
    await check(options, closing.signal);
  } catch (error) {
    if (error instanceof ConnectionBudgetError) throw error;
    log.warn({ err: error }, "the database cannot be asked how many connections it allows");
    known = false;
  }
  let asking: Promise<unknown> | undefined = known ? Promise.resolve() : undefined;
  return {
    recheck() {
      asking ??= check(options, closing.signal).catch((error: unknown) => {
        if (error instanceof ConnectionBudgetError) log.error(error.message);
        else asking = undefined; // Until the database answers again.
      });
    },
    async [Symbol.asyncDispose]() {
      if (asking && !(await endsWithin(closeMs, asking))) closing.abort();
    },
  };
}

/** Throws `ConnectionBudgetError`, and what the driver throws when somebody cannot be asked. */
async function check({ uses, replicaCount, log }: BudgetOptions, signal: AbortSignal): Promise<void> {
  const limits = new Map<string, Limit>();
  for (const [url, own] of Map.groupBy(uses, (use) => use.url)) {
    await using session = await openSession({
      url,
      applicationName: "caseflow-budget",
      connectTimeoutMs: budgetTimeoutMs,
      answerTimeoutMs: budgetTimeoutMs,
      signal,
      onError: () => {}, // The query under way fails with it.
    });
    const found = await readLimits(session, own);
    if (!found) {
      const what = own.map((use) => use.what);
      log.info({ uses: what }, "through a pooler: its own limits have to allow these connections");
    }
    for (const limit of found ?? []) {
      const known = limits.get(limit.name);
      limits.set(limit.name, { ...limit, uses: [...(known?.uses ?? []), ...limit.uses] });
    }
  }
  const faults = [...limits.values()].flatMap((limit) => judge(limit, replicaCount) ?? []);
  if (faults.length > 0) throw new ConnectionBudgetError(faults.join("\n"));
}

interface Limit {
  /** Limits of the same name are one, of all uses together. */
  readonly name: string;
  readonly allowed: number;
  readonly because: string;
  readonly uses: readonly ConnectionUse[];
}

/** `undefined` through a pooler, which makes up the process id that its clients are told when they log in. */
async function readLimits(session: Client, uses: readonly ConnectionUse[]): Promise<Limit[] | undefined> {
  const { rows } = await session.query<{
    pid: number;
    max: number;
    reserved: number;
    role: string;
    role_max: number;
    database: string;
    database_max: number;
  }>(`
    SELECT pg_backend_pid() AS pid,
           current_setting('max_connections')::int AS max,
           current_setting('superuser_reserved_connections')::int
             + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
           current_user AS role, r.rolconnlimit AS role_max,
           current_database() AS database, d.datconnlimit AS database_max
      FROM pg_roles r, pg_database d
     WHERE r.rolname = current_user AND d.datname = current_database()`);
  const [row] = rows;
  if (!row) throw new Error("unreachable: a session has a role and a database");
  const { processID } = session as typeof session & { readonly processID?: number }; // `pg`'s types leave it out.
  if (row.pid !== processID) return undefined;
  const server: Limit = {
    name: "the server",
    allowed: row.max - row.reserved,
    because: `max_connections ${row.max}, of which ${row.reserved} are reserved`,
    uses,
  };
  const limited = (name: string, allowed: number): Limit[] =>
    allowed < 0 ? [] : [{ name, allowed, because: "its CONNECTION LIMIT", uses }];
  return [
    server,
    ...limited(`database ${row.database}`, row.database_max),
    ...limited(`role ${row.role}`, row.role_max),
  ];
}

function judge({ name, allowed, because, uses }: Limit, replicaCount: number): string | undefined {
  const each = uses.reduce((sum, { count }) => sum + count, 0);
  const wanted = each * replicaCount;
  if (wanted <= allowed) return undefined;
  const told = uses.map(({ what, count }) => `${what} ${count}`).join(" + ");
  return (
    `too many connections: ${replicaCount} × (${told}) = ${wanted}, and ${name} allows ${allowed} (${because}); ` +
    `lower the pools, set CASEFLOW_REPLICAS to how many there really are, or raise the limit`
  );
}
