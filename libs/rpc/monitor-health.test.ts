import { setTimeout as sleep } from "node:timers/promises";

import { expect, test } from "vitest";

import { monitorHealth } from "./monitor-health.ts";
import { within } from "./serve-for-test.ts";

const quick = { intervalMs: 1, timeoutMs: 1_000 };

test("the first result is told, and after that what changes it", async () => {
  const results = [true, true, false, false, false, true];
  const told: (boolean | string)[] = [];
  const over = Promise.withResolvers<void>();
  await using _monitor = monitorHealth({
    ...quick,
    async probe() {
      const result = results.shift();
      if (result === undefined) over.resolve();
      if (result === false) throw new Error("down");
    },
    onChange: (serving, error) => told.push(serving, error instanceof Error ? error.message : ""),
  });
  await within(over.promise, "all results");
  expect(told).toEqual([true, "", false, "down", true, ""]);
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

test("a probe that is late counts as failed, and none is started beside it", async () => {
  const go = Promise.withResolvers<void>();
  const told: boolean[] = [];
  const changes = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let running = 0;
  let most = 0;
  await using _monitor = monitorHealth({
    intervalMs: 1,
    timeoutMs: 10,
    async probe() {
      most = Math.max(most, ++running);
      await go.promise; // Deaf to its signal.
      running--;
    },
    onChange(serving) {
      changes[told.push(serving) - 1]?.resolve();
    },
  });
  await within(changes[0]?.promise ?? go.promise, "the failure");
  expect(told).toEqual([false]);
  await sleep(30); // That nothing is started cannot be waited for.
  go.resolve();
  await within(changes[1]?.promise ?? go.promise, "the recovery");
  expect(told).toEqual([false, true]);
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
