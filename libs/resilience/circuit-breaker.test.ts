import { expect, test } from "vitest";
import { createManualClock } from "#test/support/manual-clock.ts";
import { type BreakerState, createCircuitBreaker } from "./circuit-breaker.ts";

const limits = { windowMs: 1_000, countMin: 10, failureShare: 0.5, slowMs: 100, openMs: 500, probes: 2 };

function setUp() {
  const clock = createManualClock();
  const states: BreakerState[] = [];
  const breaker = createCircuitBreaker(clock, limits, (to) => states.push(to));
  const run = (outcome: "success" | "failure" | "unknown", times = 1) => {
    for (let made = 0; made < times; made++) breaker.enter()?.settle(outcome);
  };
  return { clock, states, breaker, run };
}

test("it opens at the share of failures, and not below the least count", () => {
  const { states, run, breaker } = setUp();
  run("failure", 9);
  expect(states).toEqual([]);
  run("failure");
  expect(states).toEqual(["open"]);
  expect(breaker.isRefusing()).toBe(true);
  expect(breaker.enter()).toBeUndefined();
});

test("successes keep it closed as long as fewer than the share fail", () => {
  const { states, run } = setUp();
  run("success", 6);
  run("failure", 5);
  expect(states).toEqual([]);
  run("failure");
  expect(states).toEqual(["open"]);
});

test("failures older than the window count for nothing", async () => {
  const { clock, states, run } = setUp();
  run("failure", 9);
  await clock.advance(1_000);
  run("failure", 9);
  expect(states).toEqual([]);
  run("failure");
  expect(states).toEqual(["open"]);
});

test("a success that took too long counts as a failure", async () => {
  const { clock, states, breaker } = setUp();
  const slow = Array.from({ length: 10 }, () => breaker.enter());
  await clock.advance(101);
  for (const permit of slow) permit?.settle("success");
  expect(states).toEqual(["open"]);
});

test("calls that cannot tell are not counted", () => {
  const { states, run } = setUp();
  run("unknown", 1_000);
  run("failure", 9);
  expect(states).toEqual([]);
});

test("half-open it lets through the probes and nobody else, and closes when all of them succeed", async () => {
  const { clock, states, run, breaker } = setUp();
  run("failure", 10);
  await clock.advance(499);
  expect(breaker.isRefusing()).toBe(true);
  await clock.advance(1);
  expect(breaker.isRefusing()).toBe(false);
  const [one, two, three] = [breaker.enter(), breaker.enter(), breaker.enter()];
  expect(three).toBeUndefined();
  one?.settle("success");
  expect(breaker.enter()).toBeUndefined(); // The second may still fail.
  two?.settle("success");
  expect(states).toEqual(["open", "half-open", "closed"]);
  run("failure", 9); // From before the outage nothing is left.
  expect(states).toHaveLength(3);
});

test("one failed probe opens it for another whole time", async () => {
  const { clock, states, run, breaker } = setUp();
  run("failure", 10);
  await clock.advance(500);
  const [one, two] = [breaker.enter(), breaker.enter()];
  one?.settle("failure");
  two?.settle("success");
  expect(states).toEqual(["open", "half-open", "open"]);
  await clock.advance(499);
  expect(breaker.enter()).toBeUndefined();
});

test("a probe that cannot tell makes room for another one", async () => {
  const { clock, states, run, breaker } = setUp();
  run("failure", 10);
  await clock.advance(500);
  run("unknown", 50);
  expect(breaker.isRefusing()).toBe(false);
  run("success", 2);
  expect(states).toEqual(["open", "half-open", "closed"]);
});

test("late answers of an older era change nothing, neither half-open nor closed again", async () => {
  const { clock, states, run, breaker } = setUp();
  const late = Array.from({ length: 30 }, () => breaker.enter());
  run("failure", 10);
  await clock.advance(500);
  const probe = breaker.enter();
  late.splice(0, 10).forEach((permit) => permit?.settle("failure"));
  late.splice(0, 10).forEach((permit) => permit?.settle("success"));
  expect(states).toEqual(["open", "half-open"]);
  probe?.settle("success");
  run("success");
  expect(states.at(-1)).toBe("closed");
  late.forEach((permit) => permit?.settle("failure"));
  expect(states.at(-1)).toBe("closed");
});

test("a permit counts once", () => {
  const { states, breaker } = setUp();
  const permit = breaker.enter();
  for (let told = 0; told < 20; told++) permit?.settle("failure");
  expect(states).toEqual([]);
});
