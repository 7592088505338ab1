import type { BreakerLimits } from "#libs/resilience/circuit-breaker.ts";
import type { BulkheadLimits } from "#libs/resilience/bulkhead.ts";
import { type Clock, systemClock } from "#libs/resilience/clock.ts";
import type { RetryBudgetLimits } from "#libs/resilience/retry-budget.ts";
import type { RetryLimits } from "#libs/resilience/retry.ts";
import type { Pulse } from "#libs/rpc/session-manager.ts";

import type { TokenSource } from "./token-source.ts";

export interface ConnectionLimits {
  /** A connection is replaced at this age, give or take a tenth, so that a roll-out spreads. */
  readonly ageMs: number;
  /** An idle connection is closed after this time. Below the services' own limit, so that it is we who close. */
  readonly idleMs: number;
  readonly connectTimeoutMs: number;
  /** How often each of several addresses is asked whether it serves. */
  readonly healthIntervalMs: number;
  readonly pulse: Pulse;
}

/** Every limit of a client. None is infinite. */
export interface ClientLimits {
  /** What a call may take that sets no `timeoutMs` of its own, all its attempts and waits together; streams too. */
  readonly defaultTimeoutMs: number;
  /** What one attempt may take; a hung one is tried again. Absent: as long as the call. */
  readonly attemptTimeoutMs?: number | undefined;
  /** How much earlier than the caller the service gives up, so that its answer still arrives. */
  readonly marginMs: number;
  /** `off`: one attempt, for callers that try again by themselves. */
  readonly retry: RetryLimits | "off";
  /** Of all methods together. `off`: only `retry` bounds the attempts, and an outage multiplies the load. */
  readonly retryBudget: RetryBudgetLimits | "off";
  /** Of each method. */
  readonly breaker: BreakerLimits | "off";
  /** Of all methods together. A stream has its place until it ends. */
  readonly bulkhead: BulkheadLimits;
  readonly connection: ConnectionLimits;
  /** The largest message that is read. */
  readonly readMaxBytes: number;
}

/** As `T`, with every part left out that keeps its default. */
export type Adjusted<T> = {
  readonly [K in keyof T]?: T[K] extends string | number | undefined ? T[K] : AdjustedPart<T[K]>;
};
type AdjustedPart<T> = T extends object ? Adjusted<T> : T;

export interface ClientOptions {
  /** Where the service is, such as `http://127.0.0.1:7080`; several: each call goes to the least loaded healthy one. */
  readonly url: string | readonly string[];
  readonly token: TokenSource;
  /** Default `grpc`. */
  readonly protocol?: "grpc" | "connect";
  readonly limits?: Adjusted<ClientLimits>;
  /** For tests. */
  readonly clock?: Clock;
}

export const defaultLimits = {
  defaultTimeoutMs: 5_000,
  marginMs: 10,
  retry: { attemptsMax: 3, baseMs: 50, capMs: 1_000 },
  retryBudget: { share: 0.1, burst: 10 },
  breaker: {
    windowMs: 10_000,
    countMin: 20,
    failureShare: 0.5,
    slowMs: 4_000,
    openMs: 5_000,
    probes: 3,
  },
  bulkhead: { inFlightMax: 100, queueMax: 100 },
  connection: {
    ageMs: 600_000,
    idleMs: 120_000,
    connectTimeoutMs: 2_000,
    healthIntervalMs: 5_000,
    pulse: { intervalMs: 10_000, timeoutMs: 3_000 },
  },
  readMaxBytes: 64 * 1024 * 1024,
} as const satisfies ClientLimits;

export interface ReadyOptions {
  readonly urls: readonly string[];
  readonly token: TokenSource;
  readonly protocol: "grpc" | "connect";
  readonly limits: ClientLimits;
  readonly clock: Clock;
}

/** Fills in the defaults. Throws a `TypeError` for what no client can be opened with. */
export function readOptions(options: ClientOptions): ReadyOptions {
  const { url, token, protocol = "grpc", limits = {}, clock = systemClock } = options;
  const urls = typeof url === "string" ? [url] : url;
  if (urls.length === 0) throw new TypeError("a client needs an address");
  for (const given of urls) {
    if (new URL(given).pathname !== "/") throw new TypeError(`an address has no path: ${given}`);
  }
  const merged: ClientLimits = {
    ...defaultLimits,
    ...limits,
    retry: adjust<RetryLimits>(defaultLimits.retry, limits.retry),
    retryBudget: adjust<RetryBudgetLimits>(defaultLimits.retryBudget, limits.retryBudget),
    breaker: adjust<BreakerLimits>(defaultLimits.breaker, limits.breaker),
    bulkhead: { ...defaultLimits.bulkhead, ...limits.bulkhead },
    connection: {
      ...defaultLimits.connection,
      ...limits.connection,
      pulse: { ...defaultLimits.connection.pulse, ...limits.connection?.pulse },
    },
  };
  checkNumbers("limits", merged);
  checkAtLeastOne({
    "limits.retry.attemptsMax": merged.retry,
    "limits.breaker.windowMs": merged.breaker,
    "limits.breaker.probes": merged.breaker,
  });
  if (merged.retryBudget !== "off" && merged.retryBudget.share >= 1) {
    throw new TypeError("limits.retryBudget.share is not below 1");
  }
  return { urls, token, protocol, limits: merged, clock };
}

function adjust<T extends object>(defaults: T, given: Partial<T> | "off" | undefined): T | "off" {
  return given === "off" ? given : { ...defaults, ...given };
}

/** `Infinity`, `NaN` or a number below 0 would turn a limit into none. */
function checkNumbers(name: string, limits: object): void {
  for (const [key, value] of Object.entries(limits)) {
    if (typeof value === "object" && value !== null) checkNumbers(`${name}.${key}`, value);
    else if (typeof value === "number" && !(value >= 0 && value < Infinity)) {
      throw new TypeError(`${name}.${key} is not a limit: ${value}`);
    }
  }
}

/** Less than one of these is none, and a call would wait for it until its time is up. By path, the limits that it is in. */
function checkAtLeastOne(paths: Readonly<Record<string, object | "off">>): void {
  for (const [path, limits] of Object.entries(paths)) {
    const value: unknown = limits === "off" ? 1 : Reflect.get(limits, path.split(".").at(-1) ?? "");
    if (typeof value === "number" && value < 1) throw new TypeError(`${path} is less than 1: ${value}`);
  }
}
