import { together } from "#libs/config/read-settings.ts";
import { oneOf, type Setting, wholeNumber } from "#libs/config/setting.ts";

/** How many calls are taken. */
export interface RateLimits {
  /** Where they are counted: by each process for itself, or in the service's database for all its replicas. */
  readonly rateStore: "memory" | "postgres";
  /** What a call may lose of its time to a database that does not answer; then it is counted in memory. In milliseconds. */
  readonly rateStoreTimeoutMs: number;
  readonly principalPerSecond: number;
  readonly principalBurst: number;
  readonly tenantPerSecond: number;
  readonly tenantBurst: number;
}

export const defaultRates: RateLimits = {
  rateStore: "memory",
  rateStoreTimeoutMs: 100,
  principalPerSecond: 500,
  principalBurst: 2_000,
  tenantPerSecond: 1_000,
  tenantBurst: 4_000,
};

const count = (name: string, fallback: number) => wholeNumber(name, { min: 1, max: 1_000_000, fallback });

/** The limits of both services, which have the same settings. */
export const rateSettings: Setting<RateLimits> = together<RateLimits>({
  rateStore: oneOf("CASEFLOW_RATE_STORE", ["memory", "postgres"], { fallback: defaultRates.rateStore }),
  rateStoreTimeoutMs: wholeNumber("CASEFLOW_RATE_STORE_TIMEOUT_MS", {
    min: 1,
    max: 1_000,
    fallback: defaultRates.rateStoreTimeoutMs,
  }),
  principalPerSecond: count("CASEFLOW_RATE_PRINCIPAL_PER_SECOND", defaultRates.principalPerSecond),
  principalBurst: count("CASEFLOW_RATE_PRINCIPAL_BURST", defaultRates.principalBurst),
  tenantPerSecond: count("CASEFLOW_RATE_TENANT_PER_SECOND", defaultRates.tenantPerSecond),
  tenantBurst: count("CASEFLOW_RATE_TENANT_BURST", defaultRates.tenantBurst),
});
