/*
 * Buckets that replicas share, as rows of the table `rate_buckets` of a service's own database: a tenant's principals, and under
 * the principal '' the tenant itself. A migration of the service makes it:
 *
 *   CREATE UNLOGGED TABLE rate_buckets (tenant_id text, principal_id text, full_at timestamptz, PRIMARY KEY (tenant_id, principal_id))
 *
 * with row-level security by tenant, and every right on rows for the service's role. A crash of PostgreSQL empties it: all buckets are full.
 *
 *   take       one statement, one round trip. The rows are locked in one order, principal before tenant; nothing is taken of a
 *              bucket that has no token. The clock is the database's: those of replicas differ
 *   refused    remembered here until there can be a token again, so that a flood does not become one of statements
 *   failing    the circuit opens, and nobody waits for the database until a probe gets through
 *   sweep      each minute, rows that are full again, of the tenants that were counted here, until they have none
 */
import type { Log } from "#libs/telemetry/log.ts";
import { openPool } from "#libs/pg/pool.ts";
import { runForTenant } from "#libs/pg/tenant-transaction.ts";
import { QueueFullError, TimeBudgetSpentError } from "#libs/pg/transaction-errors.ts";
import { createCircuitBreaker } from "#libs/resilience/circuit-breaker.ts";
import type { Clock } from "#libs/resilience/clock.ts";
import { findBucket, removedMax, removeFull, takeTokens, type TakenRow } from "./bucket-statements.ts";
import { type Caller, type CallRules, keyOf } from "./caller.ts";
import { createInstants } from "./instants.ts";
import type { SharedBuckets } from "./limiter.ts";
import { bucketTimes, untilTokenUs } from "./token-bucket.ts";

/** Its own, so that no call waits behind others' statements before it is even counted. */
export const storeConnectionsMax = 4;
const breakerLimits = {
  windowMs: 10_000,
  countMin: 3,
  failureShare: 0.5,
  openMs: 1_000,
  probes: 1,
};
const refusalsMax = 10_000;
const tenantsMax = 10_000;
const sweepEveryMs = 60_000;
const sweepTimeoutMs = 5_000;
const drainMs = 500;
/** A connection that opens too late for the call that asked for it is there for the next one. */
const connectMs = 1_000;

export interface PostgresBucketsOptions {
  /** As the service's role. */
  readonly databaseUrl: string;
  readonly rules: CallRules;
  /** What a call may lose of its time to a database that does not answer. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** Taking rejects when the database does not answer in time, and at once while it is known not to. Tenants' callers only. */
export interface PostgresBuckets extends SharedBuckets, AsyncDisposable {
  /** Removes the rows that it can do without. */
  sweep(): Promise<void>;
}

export function openPostgresBuckets(options: PostgresBucketsOptions): PostgresBuckets {
  const { databaseUrl, rules, timeoutMs, clock, log } = options;
  const [ofPrincipal, ofTenant] = [bucketTimes(rules.principal), bucketTimes(rules.tenant)];
  const pool = openPool({
    url: databaseUrl,
    max: storeConnectionsMax,
    applicationName: "caseflow-limits",
    connectTimeoutMs: Math.max(connectMs, timeoutMs),
    drainMs,
    onError: () => {}, // The next call tells.
  });
  const refusedUntil = createInstants(refusalsMax);
  /** Those with rows that were counted here. */
  const tenants = new Set<string>();
  let failure: unknown;
  let isTold = false;
  const breaker = createCircuitBreaker(clock, { ...breakerLimits, slowMs: timeoutMs }, (to) => {
    if (to === "open" && !isTold)
      log.warn({ err: failure }, "calls are counted in memory: the shared limits do not answer");
    if (to === "closed") log.info("calls are counted in the shared limits again");
    isTold = to !== "closed";
  });
  const nowUs = () => Math.round(clock.now() * 1_000);

  /** Until then there is no token, whatever others do; in milliseconds, 0 when there may be one. */
  function knownWaitMs(keys: readonly string[]): number {
    const now = nowUs();
    const waits = keys.map((key) => (refusedUntil.get(key, now) ?? now) - now);
    return Math.max(...waits) / 1_000;
  }

  async function ask(tenantId: string, principalId: string): Promise<TakenRow> {
    const permit = breaker.enter();
    if (!permit) throw new Error("the shared limits do not answer");
    try {
      const statement = takeTokens(tenantId, principalId, ofPrincipal, ofTenant);
      const [result] = await runForTenant(pool, { tenantId, timeoutMs, isUntraced: true }, [statement]);
      permit.settle("success");
      return result!.rows[0] as TakenRow; // It has its one row.
    } catch (error) {
      failure = error;
      // Who had no turn has not asked, and knows nothing of the database.
      const hasAsked = !(error instanceof QueueFullError || error instanceof TimeBudgetSpentError);
      permit.settle(hasAsked ? "failure" : "unknown");
      throw error;
    }
  }

  async function take(caller: Caller): Promise<number> {
    const { tenantId, principalId } = caller;
    if (tenantId === undefined) throw new TypeError("a caller without a tenant has no shared bucket");
    const key = keyOf(caller);
    const knownMs = knownWaitMs([key, tenantId]);
    if (knownMs > 0) return knownMs;
    if (tenants.size < tenantsMax) tenants.add(tenantId);
    const askedAtUs = nowUs();
    const row = await ask(tenantId, principalId);
    if (row.shared_taken) return 0;
    const [refusing, times, fullInUs] = row.own_taken
      ? ([tenantId, ofTenant, row.shared_full_in_us] as const)
      : ([key, ofPrincipal, row.own_full_in_us] as const);
    // Others may have taken tokens since that was read: it may be longer, and never shorter.
    const untilUs = askedAtUs + untilTokenUs(times, fullInUs);
    const now = nowUs();
    refusedUntil.set(refusing, untilUs, now);
    return Math.max(untilUs - now, 1) / 1_000;
  }

  /** Removes a tenant's rows that are full, as many statements as that takes; whether none is left. */
  async function sweepTenant(tenantId: string): Promise<boolean> {
    const statements = [removeFull(tenantId), findBucket(tenantId)];
    const sweeping = { tenantId, timeoutMs: sweepTimeoutMs, isUntraced: true };
    for (;;) {
      const [removed, left] = await runForTenant(pool, sweeping, statements);
      if (left?.rowCount === 0) return true;
      if (removed?.rowCount !== removedMax) return false;
    }
  }

  async function sweep(): Promise<void> {
    for (const tenantId of [...tenants]) {
      tenants.delete(tenantId);
      let isEmpty = false;
      try {
        isEmpty = await sweepTenant(tenantId);
      } finally {
        if (!isEmpty) tenants.add(tenantId);
      }
    }
  }
  let isSweeping = false;
  const sweepAlone = async (): Promise<void> => {
    if (isSweeping) return;
    isSweeping = true;
    try {
      await sweep();
    } catch (error) {
      log.warn({ err: error }, "rows of full rate buckets were not removed");
    } finally {
      isSweeping = false;
    }
  };
  const timer = setInterval(() => void sweepAlone(), sweepEveryMs).unref();

  return {
    take,
    timeoutMs,
    sweep,
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await pool[Symbol.asyncDispose]();
    },
  };
}
