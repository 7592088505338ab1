import {
  RateLimiterCompatibleAbstract,
  type RateLimiterLike,
  RateLimiterRes,
  RLWrapperTimeouts,
} from "rate-limiter-flexible";
import { orAbort } from "#libs/resilience/or-abort.ts";
import { type Caller, callerOf, keyOf } from "./caller.ts";

/** Takes what a call costs. Resolves with how long there will be nothing to take, in milliseconds; 0: it was taken. */
export type TakeTokens = (caller: Caller) => Promise<number>;

export interface Limiter {
  /** Counts a call. Resolves with how long it has to wait before it may be made, in milliseconds; 0: it may. */
  count(caller: Caller, signal: AbortSignal): Promise<number>;
}

export interface SharedBuckets {
  readonly take: TakeTokens;
  /** The longest that a call waits for them; then, and when they fail, it is counted in memory. */
  readonly timeoutMs: number;
}

/** Counts calls in memory; with `shared`, in buckets that replicas share, for as long as these answer. */
export function createLimiter(inMemory: TakeTokens, shared?: SharedBuckets): Limiter {
  const own = new Buckets(inMemory);
  const limiter: RateLimiterLike = shared
    ? new RLWrapperTimeouts({
        limiter: new Buckets(shared.take),
        insuranceLimiter: own,
        timeoutMs: shared.timeoutMs,
      })
    : own;
  return {
    async count(caller, signal) {
      try {
        await orAbort(limiter.consume(keyOf(caller)), signal);
        return 0;
      } catch (refusal) {
        if (refusal instanceof RateLimiterRes) return refusal.msBeforeNext;
        throw refusal;
      }
    },
  };
}

/** Token buckets in the form that rate-limiter-flexible puts together with what it has: its own limiters count in windows. */
class Buckets extends RateLimiterCompatibleAbstract {
  override readonly keyPrefix = "";
  override blockDuration = 0;
  override execEvenly = false;
  readonly #take: TakeTokens;

  constructor(take: TakeTokens) {
    super();
    this.#take = take;
  }

  override async consume(key: string): Promise<RateLimiterRes> {
    const waitMs = await this.#take(callerOf(key));
    const result = new RateLimiterRes(0, waitMs);
    return waitMs > 0 ? Promise.reject(result) : result;
  }
}
