import type { ClientOptions } from "#libs/client/client-options.ts";

/** For tests of the services: a client that tries once, holds nothing back, and so shows each answer as it came. */
export const bareLimits = {
  retry: "off",
  breaker: "off",
  bulkhead: { inFlightMax: 10_000, queueMax: 0 },
} as const satisfies ClientOptions["limits"];

/** The same, with more time for a call than the services allow themselves: on a busy machine it is their limit that decides. */
export const patientLimits = {
  ...bareLimits,
  defaultTimeoutMs: 15_000,
} as const satisfies ClientOptions["limits"];
