import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { watchLeaks } from "#test/support/leak-watch.ts";
import { createBell } from "./bell.ts";

const never = new AbortController().signal;
const longMs = 2 ** 30;

test("a bell rung while nobody waits ends the next wait at once, and that one only", async () => {
  using bell = createBell();
  bell.ring();
  bell.ring();
  await bell.wait(longMs, never);
  let ended = false;
  const next = bell.wait(longMs, never).then(() => (ended = true));
  await new Promise(setImmediate);
  expect(ended).toBe(false);
  bell.ring();
  await next;
});

test("a wait ends with its time, or when it is called off, and leaves no listener behind", async () => {
  using bell = createBell();
  const controller = new AbortController();
  await bell.wait(1, controller.signal);
  expect(getEventListeners(controller.signal, "abort")).toEqual([]);
  const waits = bell.wait(longMs, controller.signal);
  controller.abort();
  await waits;
  await bell.wait(longMs, controller.signal);
  expect(getEventListeners(controller.signal, "abort")).toEqual([]);
});

test("of several alarms the soonest rings, and once", async () => {
  using bell = createBell();
  bell.ringIn(longMs);
  bell.ringIn(1);
  bell.ringIn(longMs);
  await bell.wait(longMs, never);
});

test("an alarm that has not rung goes with its bell", async () => {
  using watch = watchLeaks();
  {
    using bell = createBell();
    bell.ringIn(longMs);
    expect(await watch.left(0)).toHaveLength(1);
  }
  expect(await watch.left()).toEqual([]);
});
