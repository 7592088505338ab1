import type { Clock } from "#libs/resilience/clock.ts";
import { type CallRules, keyOf } from "./caller.ts";
import { createInstants } from "./instants.ts";
import type { TakeTokens } from "./limiter.ts";
import { bucketTimes, untilTokenUs, type BucketTimes } from "./token-bucket.ts";

/** Buckets that are not full, some 200 bytes each. A bucket that has to go is full when it is needed again. */
export const bucketsMax = 100_000;

/**
 * Buckets in this process's memory: a principal's own first, then the tenant's. A call that the tenant's refuses has cost its
 * principal a token. A principal without a tenant speaks for many, and has the one bucket, with a tenant's rule.
 */
export function createMemoryBuckets(
  clock: Pick<Clock, "now">,
  rules: CallRules,
  countMax = bucketsMax,
): { readonly take: TakeTokens; readonly size: () => number } {
  const fullAts = createInstants(countMax);
  const [ofPrincipal, ofTenant] = [bucketTimes(rules.principal), bucketTimes(rules.tenant)];

  function takeOne(key: string, times: BucketTimes, nowUs: number): number {
    const fullAtUs = fullAts.get(key, nowUs) ?? nowUs;
    const waitUs = untilTokenUs(times, fullAtUs - nowUs);
    if (waitUs > 0) return waitUs;
    fullAts.set(key, fullAtUs + times.tokenUs, nowUs);
    return 0;
  }

  return {
    async take(caller) {
      const nowUs = Math.round(clock.now() * 1_000);
      const { tenantId } = caller;
      const key = keyOf(caller);
      if (tenantId === undefined) return takeOne(key, ofTenant, nowUs) / 1_000;
      // A tenant's own key has no slash, and so is no principal's.
      return (takeOne(key, ofPrincipal, nowUs) || takeOne(tenantId, ofTenant, nowUs)) / 1_000;
    },
    size: () => fullAts.size,
  };
}
