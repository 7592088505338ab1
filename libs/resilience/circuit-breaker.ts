/**
 * A circuit breaker over a sliding window of time.
 *
 *   closed     calls pass and are counted. Open when, of at least `countMin` in the window, `failureShare` failed
 *   open       calls are refused, for `openMs`
 *   half-open  `probes` calls pass, the others are refused. All succeed: closed, with an empty window. One fails: open
 *
 * Each stay in a state is an era. An answer counts only in the era that its call began in: a late failure from before says
 * nothing about now.
 */
import type { Clock } from "./clock.ts";

export interface BreakerLimits {
  readonly windowMs: number;
  /** Fewer calls in the window open nothing. */
  readonly countMin: number;
  /** From 0 to 1. */
  readonly failureShare: number;
  /** A success that took longer counts as a failure. */
  readonly slowMs: number;
  readonly openMs: number;
  /** Calls that are let through while half-open, and must all succeed. */
  readonly probes: number;
}

export type BreakerState = "closed" | "open" | "half-open";

/** One call that was let through. */
export interface BreakerPermit {
  /** The first counts. `unknown`: the call ended before it could tell, as by its caller's abort. */
  settle(outcome: "success" | "failure" | "unknown"): void;
}

export interface CircuitBreaker {
  /** An open circuit whose time is over is open until somebody enters. */
  state(): BreakerState;
  /** Whether `enter` would refuse now. */
  isRefusing(): boolean;
  /** `undefined`: refused. Every permit has to be settled. */
  enter(): BreakerPermit | undefined;
}

interface Bucket {
  slot: number;
  calls: number;
  failures: number;
}

const bucketCount = 10;

export function createCircuitBreaker(
  clock: Clock,
  limits: BreakerLimits,
  onChange: (to: BreakerState) => void,
): CircuitBreaker {
  const bucketMs = limits.windowMs / bucketCount;
  let state: BreakerState = "closed";
  let era = 0;
  let opensUntil = 0;
  let probesUnderWay = 0;
  let probesPassed = 0;
  let buckets: Bucket[] = [];

  function goTo(next: BreakerState): void {
    state = next;
    era++;
    probesUnderWay = 0;
    probesPassed = 0;
    buckets = [];
    if (next === "open") opensUntil = clock.now() + limits.openMs;
    onChange(next);
  }

  function count(failed: boolean): void {
    const slot = Math.floor(clock.now() / bucketMs);
    buckets = buckets.filter((bucket) => slot - bucket.slot < bucketCount);
    let latest = buckets.at(-1);
    if (latest?.slot !== slot) buckets.push((latest = { slot, calls: 0, failures: 0 }));
    latest.calls += 1;
    if (!failed) return;
    latest.failures += 1;
    const calls = buckets.reduce((sum, bucket) => sum + bucket.calls, 0);
    const failures = buckets.reduce((sum, bucket) => sum + bucket.failures, 0);
    if (calls >= limits.countMin && failures >= limits.failureShare * calls) goTo("open");
  }

  function countProbe(outcome: "success" | "failure" | "unknown"): void {
    probesUnderWay -= 1;
    if (outcome === "unknown") return;
    if (outcome === "failure") return goTo("open");
    probesPassed += 1;
    if (probesPassed >= limits.probes) goTo("closed");
  }

  const isRefusing = () => {
    switch (state) {
      case "closed":
        return false;
      case "open":
        return clock.now() < opensUntil;
      case "half-open":
        return probesUnderWay + probesPassed >= limits.probes;
      default:
        return state satisfies never;
    }
  };

  return {
    state: () => state,
    isRefusing,
    enter() {
      if (isRefusing()) return undefined;
      if (state === "open") goTo("half-open");
      if (state === "half-open") probesUnderWay += 1;
      const begunIn = era;
      const begunAt = clock.now();
      let settled = false;
      return {
        settle(given) {
          if (settled || begunIn !== era) return;
          settled = true;
          const isSlow = given === "success" && clock.now() - begunAt > limits.slowMs;
          const outcome = isSlow ? "failure" : given;
          if (state === "half-open") countProbe(outcome);
          else if (outcome !== "unknown") count(outcome === "failure");
        },
      };
    },
  };
}
