/**
 * One transaction in one round trip.
 *
 *   sent in one write       BEGIN; SET LOCAL …    (one simple query)
 *                           each statement        (prepared under its name at first use on the connection)
 *                           COMMIT
 *
 * Nothing waits for an answer in between, so nothing can be decided in between either: statements must hold their own
 * conditions. When one fails, the server skips those after it and answers COMMIT with ROLLBACK.
 *
 * What is known afterwards is decided in `outcome.ts`, from the answers alone. The connection goes back to the pool
 * when the server answered everything and is outside a transaction again; otherwise it is destroyed.
 *
 * Three limits bound the time: waiting for a turn (`check-out.ts`) and everything after it share `timeoutMs`; the server gets what
 * is left as `statement_timeout`, for each statement; and if the answers are not all there `answerGraceMs` after the
 * end, the server is taken for frozen and the connection destroyed.
 */
import type { Client, Pool, QueryResult } from "pg";
import { withStatementSpan } from "#libs/telemetry/statement-spans.ts";
import { beginText } from "./begin-text.ts";
import { borrowConnection } from "./borrow-connection.ts";
import { exchange } from "./exchange.ts";
import { isReusable, readOutcome } from "./outcome.ts";
import { claimNames, prepareStatements, type SendableStatement } from "./prepare-statements.ts";
import type { Statement } from "./statement.ts";
import { timeStatements } from "./statement-times.ts";
import { TimeBudgetSpentError } from "./transaction-errors.ts";
import { tryAgainUntil } from "./try-again.ts";

export interface TransactionOptions {
  /** What is left of the caller's time, from now, the wait for a connection included. Below 1 nothing is sent. */
  readonly timeoutMs: number;
  /** Until something is sent, an abort ends the wait. Afterwards the transaction is left to finish. */
  readonly signal?: AbortSignal | undefined;
  /** Lets the database refuse writes, a lost connection be safe to retry, and a deadlock or its like be tried again here. */
  readonly readOnly?: boolean;
  /**
   * Plans every statement anew. For reads that fit one row or very many: the plan that PostgreSQL settles on after five uses
   * is made for the table as it was then, and a table that was almost empty makes every index look alike.
   */
  readonly planEachTime?: boolean;
  /** Whose turn at the pool is waited for; absent: of work that is no tenant's. */
  readonly turnOf?: string;
  /** No span: for what belongs to no call's trace, or runs before it begins. */
  readonly isUntraced?: boolean;
  /** Settings for this transaction only, such as `plan_cache_mode`. */
  readonly settings?: Readonly<Record<string, string>>;
}

export interface TenantTransactionOptions extends Omit<TransactionOptions, "turnOf"> {
  /** Matches `tenantIdPattern`. */
  readonly tenantId: string;
}

const tenantIdPattern = /^[a-z0-9][a-z0-9-]{0,62}$/;
/** How long after `timeoutMs` an answer may still arrive: the server's own timeout comes first, and is better news. */
export const answerGraceMs = 500;
/** Node's timers and PostgreSQL's settings both end here. */
const timeoutMsMax = 2 ** 31 - 1 - answerGraceMs;

/**
 * Runs the statements as one transaction for one tenant, which row-level security reads from the setting
 * `app.tenant_id`, and returns their results in order. One round trip. `runTransaction` says what its failures mean.
 *
 * The setting is local to the transaction: the connection's next user starts without a tenant and sees no rows.
 */
export async function runForTenant(
  pool: Pool,
  options: TenantTransactionOptions,
  statements: readonly Statement[],
): Promise<QueryResult[]> {
  const { tenantId, settings, ...rest } = options;
  if (!tenantIdPattern.test(tenantId)) throw new TypeError("a tenant id is 1 to 63 of a-z, 0-9 and -");
  return runTransaction(
    pool,
    { ...rest, turnOf: tenantId, settings: { ...settings, "app.tenant_id": tenantId } },
    statements,
  );
}

/**
 * Runs the statements as one READ COMMITTED transaction, in one round trip, and returns their results in order.
 *
 * Throws the first refusal as the database gave it (`DatabaseError`: nothing was committed), or one of the errors of
 * `transaction-errors.ts`. Given a client instead of a pool, that client must be pipelined and used by nobody else
 * meanwhile; its connection is destroyed where a pool's would be.
 */
export async function runTransaction(
  on: Pool | Client,
  options: TransactionOptions,
  statements: readonly Statement[],
): Promise<QueryResult[]> {
  const endsAt = performance.now() + options.timeoutMs;
  if (!(options.timeoutMs >= 1)) throw new TimeBudgetSpentError(options.timeoutMs);
  const prepared = prepareStatements(statements);
  const name = statements.map((statement) => statement.name).join(" ");
  const once = () => runBefore(endsAt, on, options, prepared);
  const run = options.isUntraced ? once : () => withStatementSpan(name, once, statements.length);
  return options.readOnly ? tryAgainUntil(endsAt, run) : run();
}

async function runBefore(
  endsAt: number,
  on: Pool | Client,
  options: TransactionOptions,
  statements: readonly SendableStatement[],
): Promise<QueryResult[]> {
  const readOnly = options.readOnly ?? false;
  const waitMs = Math.min(endsAt - performance.now(), timeoutMsMax);
  if (waitMs < 1) throw new TimeBudgetSpentError(waitMs);
  using connection = await borrowConnection(on, {
    tenant: options.turnOf ?? "",
    waitMs,
    signal: options.signal,
  });
  const { client } = connection;
  const leftMs = Math.min(Math.floor(endsAt - performance.now()), timeoutMsMax);
  if (leftMs < 1) throw new TimeBudgetSpentError(leftMs);
  const begin = beginText(client, readOnly, {
    statement_timeout: String(leftMs),
    ...(options.planEachTime && { plan_cache_mode: "force_custom_plan" }),
    ...options.settings,
  });
  claimNames(client, statements);

  connection.reusable = false;
  const answers = await timeStatements(statements, () =>
    exchange(client, begin, statements, leftMs + answerGraceMs),
  );
  connection.reusable = isReusable(client, answers);
  return readOutcome(answers, readOnly);
}
