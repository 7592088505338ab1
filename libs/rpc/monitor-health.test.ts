import { setTimeout as sleep } from "node:timers/promises";

import { expect, test } from "vitest";

import { monitorHealth } from "./monitor-health.ts";
import { within } from "./serve-for-test.ts";

const quick = { intervalMs: 1, timeoutMs: 1_000, failuresToStop: 3, successesToServe: 2 };

/** Probes with these results, `+` well and `-` not, one after the other; returns what was told, as `+` and `-` too. */
async function judge(results: string): Promise<string> {
  const left = results.split("");
  const over = Promise.withResolvers<void>();
  let told = "";
  await using _monitor = monitorHealth({
    ...quick,
    async probe() {
      const result = left.shift();
      if (result === undefined) {
        over.resolve();
        return new Promise(() => {});
      }
      if (result === "-") throw new Error("down");
    },
    onChange(serving, error) {
      expect(error instanceof Error ? error.message : "").toBe(serving ? "" : "down");
      told += serving ? "+" : "-";
    },
  });
  await within(over.promise, "all results");
  return told;
}

test.each([
  ["+", "+", "the first success counts at once"],
  ["--+", "-+", "so it does after failures at the start, of which the first is told"],
  ["+--", "+", "fewer failures in a row than it takes change nothing"],
  ["+---", "+-", "enough of them do"],
  ["+---+", "+-", "then one success is not enough"],
  ["+---++", "+-+", "several in a row are"],
  ["+----------++", "+-+", "each verdict is told once"],
  ["+-+-+--+--+-+-+--+-", "+", "a flapping dependency does not end serving"],
  ["+---+-+-+--+-+-", "+-", "nor does it begin serving again"],
  ["+--+--+---", "+-", "a success between failures makes them begin anew"],
])("%s is told as %s: %s", async (results, told) => {
  expect(await judge(results)).toBe(told);
});

test("a probe that throws at once is a probe that failed", async () => {
  const told = Promise.withResolvers<boolean>();
  await using _monitor = monitorHealth({
    ...quick,
    probe() {
      throw new Error("broken");
    },
    onChange: told.resolve,
  });
  expect(await within(told.promise, "the result")).toBe(false);
});

test("a probe that never comes back ends serving, and none is started beside it", async () => {
  const go = Promise.withResolvers<void>();
  const told: boolean[] = [];
  const changes = [0, 1, 2].map(() => Promise.withResolvers<void>());
  let probes = 0;
  let running = 0;
  let most = 0;
  await using _monitor = monitorHealth({
    ...quick,
    timeoutMs: 10,
    async probe() {
      probes += 1;
      most = Math.max(most, ++running);
      if (probes === 2) await go.promise; // Deaf to its signal.
      running--;
    },
    onChange(serving) {
      changes[told.push(serving) - 1]?.resolve();
    },
  });
  await within(changes[1]!.promise, "the failure");
  expect(told).toEqual([true, false]);
  await sleep(30); // That nothing is started cannot be waited for.
  expect(probes).toBe(2);
  go.resolve();
  await within(changes[2]!.promise, "the recovery");
  expect(told).toEqual([true, false, true]);
  expect(most).toBe(1);
});

test("disposal aborts a running probe, tells nothing any more, and is not kept waiting by a deaf one", async () => {
  const signals: AbortSignal[] = [];
  const told: boolean[] = [];
  const monitor = monitorHealth({
    ...quick,
    probe(signal) {
      signals.push(signal);
      return new Promise(() => {});
    },
    onChange: (serving) => told.push(serving),
  });
  await within(monitor[Symbol.asyncDispose](), "the end");
  expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
  expect(told).toEqual([]);
});
