import { Fault } from "#libs/fault/fault.ts";

/** Counts the streams that are open, of all tenants and of each. */
export interface StreamPlaces {
  /** Takes a place until disposed. Fault RATE_LIMITED when there is none left. */
  take(tenantId: string): Disposable;
}

export interface StreamLimits {
  readonly streamsMax: number;
  readonly streamsPerTenantMax: number;
}

const retryAfterMs = 5_000;

export function createStreamPlaces({ streamsMax, streamsPerTenantMax }: StreamLimits): StreamPlaces {
  const byTenant = new Map<string, number>();
  let count = 0;
  return {
    take(tenantId) {
      const own = byTenant.get(tenantId) ?? 0;
      if (count >= streamsMax || own >= streamsPerTenantMax) {
        const message = "too many streams are open";
        throw new Fault<"RATE_LIMITED">("RATE_LIMITED", {}, { message, retryAfterMs });
      }
      count += 1;
      byTenant.set(tenantId, own + 1);
      return {
        [Symbol.dispose]() {
          count -= 1;
          const left = (byTenant.get(tenantId) ?? 1) - 1;
          if (left === 0) byTenant.delete(tenantId);
          else byTenant.set(tenantId, left);
        },
      };
    },
  };
}
