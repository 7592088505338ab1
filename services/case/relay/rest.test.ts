import { expect, test } from "vitest";
import { createRest } from "./rest.ts";

test("rest doubles with each failure in a row up to its longest, and a success ends it", () => {
  let nowMs = 0;
  const rest = createRest<string>(
    () => nowMs,
    () => 1,
  );
  const rests = Array.from({ length: 9 }, () => rest.failed("lane"));
  expect(rests).toEqual([100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
  expect(rest.remainingMs("lane")).toBe(5000);
  expect(rest.remainingMs("another")).toBeLessThanOrEqual(0);
  nowMs = 5000;
  expect(rest.remainingMs("lane")).toBe(0);
  rest.succeeded("lane");
  expect(rest.failed("lane")).toBe(100);
});

test("half of a rest is by chance", () => {
  expect(
    createRest<number>(
      () => 0,
      () => 0,
    ).failed(1),
  ).toBe(50);
});

test("its memory is bounded, and forgets the oldest", () => {
  const rest = createRest<number>(
    () => 0,
    () => 1,
  );
  for (let key = 0; key <= 10_000; key++) rest.failed(key);
  expect(rest.remainingMs(0)).toBe(0);
  expect(rest.remainingMs(1)).toBe(100);
  expect(rest.remainingMs(10_000)).toBe(100);
});
