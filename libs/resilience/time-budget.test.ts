import { expect, test } from "vitest";
import { createManualClock } from "#test/support/manual-clock.ts";
import { systemClock } from "./clock.ts";
import { orAbort } from "./or-abort.ts";
import { startTimeBudget } from "./time-budget.ts";

const timeUp = () => new Error("time up");

test("the time runs down with the clock, and the signal goes off at its end", async () => {
  const clock = createManualClock();
  const time = startTimeBudget(clock, 100, timeUp);
  await clock.advance(99);
  expect([time.remainingMs(), time.signal.aborted]).toEqual([1, false]);
  await clock.advance(1);
  expect([time.remainingMs(), time.signal.reason.message]).toEqual([0, "time up"]);
  await clock.advance(1);
  expect(time.remainingMs()).toBe(0);
});

test.each(["before", "after"])("a caller that gives up %s the start ends it with its own reason", (when) => {
  const clock = createManualClock();
  const caller = new AbortController();
  if (when === "before") caller.abort(new Error("gone"));
  const time = startTimeBudget(clock, 100, timeUp, [undefined, caller.signal]);
  caller.abort(new Error("gone"));
  expect(time.signal.reason).toHaveProperty("message", "gone");
  expect(clock.timers()).toBe(0);
});

test("given back, it leaves no timer and is deaf to the caller", () => {
  const clock = createManualClock();
  const caller = new AbortController();
  const time = startTimeBudget(clock, 100, timeUp, [caller.signal]);
  time[Symbol.dispose]();
  caller.abort();
  expect(clock.timers()).toBe(0);
  expect(time.signal.aborted).toBe(false);
});

test("a time longer than any timer of Node is not over at once", async () => {
  using time = startTimeBudget(systemClock, 2 ** 40, timeUp);
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setTimeout(resolve, 2)); // Node would set such a timer to one millisecond.
  expect(time.signal.aborted).toBe(false);
});

test("who waits for work that never ends is let go by the signal", async () => {
  const caller = new AbortController();
  const outcome = orAbort(new Promise(() => {}), caller.signal);
  caller.abort(new Error("gone"));
  await expect(outcome).rejects.toThrow("gone");
});
