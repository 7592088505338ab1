/**
 * Why cockatiel gives us the spacing of retries and nothing else. Each test holds what cockatiel 4.0 does, and what we do
 * elsewhere for that: when one fails after an upgrade, cockatiel was mended, and ours may go.
 */
import {
  bulkhead,
  circuitBreaker,
  CircuitState,
  ConsecutiveBreaker,
  ConstantBackoff,
  CountBreaker,
  handleAll,
  handleWhen,
  retry,
  SamplingBreaker,
  timeout,
  TimeoutStrategy,
} from "cockatiel";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createBackoff } from "./backoff.ts";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

const fail = () => Promise.reject(new Error("down"));
const quietly = (call: Promise<unknown>) => call.catch((error: unknown) => error);

test("its retry is deaf to an abort while it waits, and then calls again", async () => {
  const caller = new AbortController();
  let calls = 0;
  const policy = retry(handleAll, { maxAttempts: 1, backoff: new ConstantBackoff(1_000) });
  const outcome = quietly(policy.execute(() => (calls++, fail()), caller.signal));
  await vi.advanceTimersByTimeAsync(1);
  caller.abort();
  await vi.advanceTimersByTimeAsync(998);
  expect(calls).toBe(1);
  await vi.advanceTimersByTimeAsync(1);
  await outcome;
  expect(calls).toBe(2);
});

test("its retry tries a broken circuit again as if that were a failure of the service", async () => {
  const breaker = circuitBreaker(handleAll, { halfOpenAfter: 10_000, breaker: new ConsecutiveBreaker(1) });
  await quietly(breaker.execute(fail));
  let attempts = 0;
  const policy = retry(handleAll, { maxAttempts: 3, backoff: new ConstantBackoff(1) });
  const outcome = quietly(policy.execute(() => (attempts++, breaker.execute(fail))));
  await vi.runAllTimersAsync();
  expect(await outcome).toHaveProperty("name", "Error");
  expect(attempts).toBe(4);
});

test("in its half-open circuit those behind the probe wait for it, whatever their signal says", async () => {
  const breaker = circuitBreaker(handleAll, { halfOpenAfter: 100, breaker: new ConsecutiveBreaker(1) });
  await quietly(breaker.execute(fail));
  await vi.advanceTimersByTimeAsync(100);
  const probe = Promise.withResolvers<void>();
  const probing = breaker.execute(() => probe.promise);
  const caller = new AbortController();
  let settled = false;
  const waiting = quietly(breaker.execute(async () => {}, caller.signal)).finally(() => (settled = true));
  caller.abort();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(settled).toBe(false);
  probe.resolve();
  await Promise.all([probing, waiting]);
});

test("errors that its circuit does not handle are not counted as successes, so that few failures open it", async () => {
  const breaker = circuitBreaker(
    handleWhen((error) => error instanceof Error && error.message === "down"),
    { halfOpenAfter: 100, breaker: new CountBreaker({ threshold: 0.5, size: 10, minimumNumberOfCalls: 10 }) },
  );
  for (let round = 0; round < 10; round++) {
    for (let call = 0; call < 9; call++) {
      await quietly(breaker.execute(() => Promise.reject(new Error("not found"))));
    }
    await quietly(breaker.execute(fail));
  }
  expect(breaker.state).toBe(CircuitState.Open);
});

test("a failure from before it opened opens its half-open circuit again", async () => {
  const breaker = circuitBreaker(handleAll, { halfOpenAfter: 100, breaker: new ConsecutiveBreaker(1) });
  const late = Promise.withResolvers<void>();
  const old = quietly(breaker.execute(() => late.promise));
  await quietly(breaker.execute(fail));
  await vi.advanceTimersByTimeAsync(100);
  const probe = Promise.withResolvers<void>();
  const probing = breaker.execute(() => probe.promise);
  expect(breaker.state).toBe(CircuitState.HalfOpen);
  late.reject(new Error("late"));
  await old;
  expect(breaker.state).toBe(CircuitState.Open);
  probe.resolve();
  await probing;
});

test("the least count of its sampling breaker is calls a second: a slow stream of failures never opens it", async () => {
  const sampling = new SamplingBreaker({ threshold: 0.5, duration: 10_000, minimumRps: 2 });
  const breaker = circuitBreaker(handleAll, { halfOpenAfter: 100, breaker: sampling });
  for (let call = 0; call < 100; call++) {
    await quietly(breaker.execute(fail));
    await vi.advanceTimersByTimeAsync(1_000);
  }
  expect(breaker.state).toBe(CircuitState.Closed);
});

test("its sampling breaker keeps failures from long ago", async () => {
  const sampling = new SamplingBreaker({ threshold: 0.5, duration: 5_000, minimumRps: 2 });
  const breaker = circuitBreaker(handleAll, { halfOpenAfter: 100, breaker: sampling });
  for (let call = 0; call < 9; call++) await quietly(breaker.execute(fail));
  await vi.advanceTimersByTimeAsync(3_600_000);
  await quietly(breaker.execute(fail));
  expect(breaker.state).toBe(CircuitState.Open);
});

test("its circuit follows the wall clock, and a clock that is set back keeps it open", async () => {
  const breaker = circuitBreaker(handleAll, { halfOpenAfter: 100, breaker: new ConsecutiveBreaker(1) });
  await quietly(breaker.execute(fail));
  vi.setSystemTime(Date.now() - 3_600_000);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(await quietly(breaker.execute(async () => "well"))).toHaveProperty("isBrokenCircuitError", true);
});

test("who waits in its bulkhead is not let go by an abort", async () => {
  const policy = bulkhead(1, 1);
  const work = Promise.withResolvers<void>();
  const working = policy.execute(() => work.promise);
  const caller = new AbortController();
  let settled = false;
  const waiting = quietly(policy.execute(async () => {}, caller.signal)).finally(() => (settled = true));
  caller.abort();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(settled).toBe(false);
  work.resolve();
  await Promise.all([working, waiting]);
});

test("its timeout reports a caller's abort as a timeout", async () => {
  const policy = timeout(1_000, TimeoutStrategy.Aggressive);
  const caller = new AbortController();
  const timeouts: unknown[] = [];
  policy.onTimeout(() => timeouts.push(Date.now()));
  const outcome = quietly(policy.execute(() => new Promise(() => {}), caller.signal));
  caller.abort();
  await outcome;
  expect(timeouts).toHaveLength(1);
});

test("its backoff takes our chance and our limits", () => {
  const next = createBackoff({ baseMs: 100, capMs: 350 }, () => 0.999);
  expect([1, 2, 3, 4].map(() => Math.round(next()))).toEqual([100, 200, 350, 350]);
  const least = createBackoff({ baseMs: 100, capMs: 350 }, () => 0);
  expect([1, 2, 3].map(() => least())).toEqual([0, 0, 0]);
});
