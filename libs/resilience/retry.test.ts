import { expect, test } from "vitest";
import { createManualClock, type ManualClock } from "#test/support/manual-clock.ts";
import { createRetryBudget, type RetryBudget } from "./retry-budget.ts";
import { retry, type RetryVerdict } from "./retry.ts";
import { startTimeBudget } from "./time-budget.ts";

const limits = { attemptsMax: 3, baseMs: 100, capMs: 150 };

interface Setting {
  readonly clock?: ManualClock;
  readonly totalMs?: number;
  readonly attemptMinMs?: number;
  readonly verdict?: RetryVerdict;
  readonly budget?: RetryBudget;
  readonly signal?: AbortSignal;
  readonly attempt?: () => Promise<string>;
}

/** A call whose attempts fail, unless told otherwise; `madeAt` are the moments of its attempts. */
function call({ clock = createManualClock(), totalMs = 10_000, ...setting }: Setting) {
  const madeAt: number[] = [];
  const told: string[] = [];
  const time = startTimeBudget(clock, totalMs, () => new Error("time up"), [setting.signal]);
  const attempt = setting.attempt ?? (() => Promise.reject(new Error(`attempt ${madeAt.length}`)));
  const outcome = retry(
    {
      limits,
      clock,
      time,
      attemptMinMs: setting.attemptMinMs ?? 1,
      judge: () => setting.verdict ?? { again: true },
      budget: setting.budget,
      onRetry: ({ waitMs }) => told.push(`retry after ${waitMs}`),
      onBudgetSpent: () => told.push("budget spent"),
    },
    () => {
      madeAt.push(clock.now());
      return attempt();
    },
  ).then(
    (value) => value,
    (error: Error) => error.message,
  );
  return { clock, madeAt, told, outcome };
}

test("a call is tried until its attempts are used up, after waits that double up to the cap, each in part by chance", async () => {
  const { clock, madeAt, told, outcome } = call({});
  await clock.advance(1_000);
  expect(await outcome).toBe("attempt 3");
  expect(madeAt).toEqual([0, 50, 125]);
  expect(told).toEqual(["retry after 50", "retry after 75"]);
});

test("what must not be tried again is thrown at once", async () => {
  const { madeAt, outcome } = call({ verdict: { again: false } });
  expect(await outcome).toBe("attempt 1");
  expect(madeAt).toEqual([0]);
});

test("whoever asks to be left alone is, and gets its callers back at different moments", async () => {
  const { clock, madeAt, outcome } = call({ verdict: { again: true, atLeastMs: 400 } });
  await clock.advance(2_000);
  await outcome;
  expect(madeAt).toEqual([0, 450, 925]);
});

test("whoever names the moment gets its caller back just then", async () => {
  const { clock, madeAt, outcome } = call({ verdict: { again: true, exactlyMs: 7 } });
  await clock.advance(14);
  await outcome;
  expect(madeAt).toEqual([0, 7, 14]);
});

test("a wait that would leave less than an attempt needs is not begun either", async () => {
  const verdict = { again: true, exactlyMs: 395 } as const;
  const tooLate = call({ totalMs: 400, attemptMinMs: 6, verdict });
  expect(await tooLate.outcome).toBe("attempt 1");
  const inTime = call({ totalMs: 400, attemptMinMs: 5, verdict });
  await inTime.clock.advance(395);
  expect(await inTime.outcome).toBe("attempt 2");
});

test("a wait that would outlast the time is not begun, and the failure is told at once", async () => {
  const { clock, madeAt, outcome } = call({ totalMs: 400, verdict: { again: true, exactlyMs: 400 } });
  expect(await outcome).toBe("attempt 1");
  expect(madeAt).toEqual([0]);
  expect(clock.now()).toBe(0);
});

test("an abort ends a wait at once, with the caller's reason, and no attempt follows", async () => {
  const caller = new AbortController();
  const { clock, madeAt, outcome } = call({ signal: caller.signal });
  await clock.advance(10);
  caller.abort(new Error("not needed any more"));
  expect(await outcome).toBe("not needed any more");
  await clock.advance(10_000);
  expect(madeAt).toEqual([0]);
  expect(clock.timers()).toBe(0);
});

test("an abort during an attempt is not followed by another one", async () => {
  const caller = new AbortController();
  const { madeAt, outcome } = call({
    signal: caller.signal,
    async attempt() {
      caller.abort(new Error("not needed any more"));
      throw new Error("cut off");
    },
  });
  expect(await outcome).toBe("cut off");
  expect(madeAt).toEqual([0]);
});

test("in an outage attempts stay below 1.2 times the calls, from the hundredth call on", async () => {
  const clock = createManualClock();
  const budget = createRetryBudget({ share: 0.1, burst: 10 });
  let attempts = 0;
  for (let calls = 1; calls <= 1_000; calls++) {
    const { madeAt, outcome } = call({ clock, budget });
    await clock.advance(1_000);
    await outcome;
    attempts += madeAt.length;
    if (calls > 100) expect(attempts).toBeLessThan(1.2 * calls);
  }
  expect(attempts).toBeGreaterThan(1_050); // It does not stop retries either.
});

test("a spent retry budget is told, and a retry it cannot pay is not made", async () => {
  const budget = createRetryBudget({ share: 0, burst: 1 });
  const { clock, madeAt, told, outcome } = call({ budget });
  await clock.advance(1_000);
  expect(await outcome).toBe("attempt 2");
  expect(madeAt).toHaveLength(2);
  expect(told.at(-1)).toBe("budget spent");
});

test("a long time of successes saves up no more retries than the burst", () => {
  const budget = createRetryBudget({ share: 0.1, burst: 3 });
  for (let calls = 0; calls < 10_000; calls++) budget.payIn();
  expect([1, 2, 3, 4].map(() => budget.take())).toEqual([true, true, true, false]);
});
