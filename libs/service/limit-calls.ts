import { Fault } from "#libs/fault/fault.ts";
import { createLimiter } from "#libs/limits/limiter.ts";
import { createMemoryBuckets } from "#libs/limits/memory-buckets.ts";
import { openPostgresBuckets, storeConnectionsMax } from "#libs/limits/postgres-buckets.ts";
import { systemClock } from "#libs/resilience/clock.ts";
import type { Gate } from "#libs/rpc/call-chain.ts";
import { principalKey } from "#libs/rpc/principal.ts";
import type { Log } from "#libs/telemetry/log.ts";
import type { ConnectionUse } from "./connection-budget.ts";
import type { RateLimits } from "./limit-settings.ts";

export interface LimitCallsOptions {
  readonly rates: RateLimits;
  /** As the service's role; used where replicas share their limits. */
  readonly databaseUrl: string;
  readonly log: Log;
}

export interface CallLimits extends AsyncDisposable {
  /** Fault RATE_LIMITED, with how long to wait, for a call beyond the limit of its principal or tenant. Counts verified callers alone. */
  readonly gate: Gate;
}

/** What shared limits connect to the service's database with. */
export function limitConnections({
  rates,
  databaseUrl: url,
}: Omit<LimitCallsOptions, "log">): ConnectionUse[] {
  return rates.rateStore === "postgres"
    ? [{ what: "the shared limits", url, count: storeConnectionsMax }]
    : [];
}

/**
 * Limits calls by token buckets, of a principal and of its tenant. A call that is refused has cost its service a look into memory, or one
 * statement; a call that is counted in the database waits for it `rateStoreTimeoutMs` at most. A principal without a tenant, as a
 * relay is, is counted by each process for itself.
 */
export function limitCalls({ rates, databaseUrl, log }: LimitCallsOptions): CallLimits {
  const rules = {
    principal: { perSecond: rates.principalPerSecond, burst: rates.principalBurst },
    tenant: { perSecond: rates.tenantPerSecond, burst: rates.tenantBurst },
  };
  const inMemory = createMemoryBuckets(systemClock, rules).take;
  const buckets =
    rates.rateStore === "postgres"
      ? openPostgresBuckets({
          databaseUrl,
          rules,
          timeoutMs: rates.rateStoreTimeoutMs,
          clock: systemClock,
          log,
        })
      : undefined;
  const alone = createLimiter(inMemory);
  const limiter = buckets ? createLimiter(inMemory, buckets) : alone;
  return {
    async gate({ values, signal }) {
      const principal = values.get(principalKey);
      if (principal === undefined) return;
      const { tenantId, id: principalId } = principal;
      const waitMs = await (tenantId === undefined ? alone : limiter).count(
        { tenantId, principalId },
        signal,
      );
      if (waitMs === 0) return;
      const message = "too many calls";
      throw new Fault<"RATE_LIMITED">("RATE_LIMITED", {}, { message, retryAfterMs: waitMs });
    },
    async [Symbol.asyncDispose]() {
      await buckets?.[Symbol.asyncDispose]();
    },
  };
}
