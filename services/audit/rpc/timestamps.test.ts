import { create } from "@bufbuild/protobuf";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";

import { isTimestamp, toMicros, toTimestamp } from "./timestamps.ts";

const at = (seconds: bigint, nanos = 0) => create(TimestampSchema, { seconds, nanos });

test.each([
  [0n, at(0n)],
  [1n, at(0n, 1_000)],
  [-1n, at(-1n, 999_999_000)],
  [-1_000_000n, at(-1n)],
  [1_700_000_000_123_456n, at(1_700_000_000n, 123_456_000)],
])("%d microseconds make one timestamp, and it makes them", (micros, timestamp) => {
  expect(toTimestamp(micros)).toEqual(timestamp);
  expect(toMicros(timestamp)).toBe(micros);
});

test("a part of a microsecond is cut off, before 1970 too", () => {
  expect(toMicros(at(0n, 1_999))).toBe(1n);
  expect(toMicros(at(-1n, 999_999_999))).toBe(-1n);
});

test.each([
  ["the first second", at(-62_135_596_800n), true],
  ["before the first second", at(-62_135_596_801n), false],
  ["the last nanosecond", at(253_402_300_799n, 999_999_999), true],
  ["after the last second", at(253_402_300_800n), false],
  ["a whole second of nanoseconds", at(0n, 1_000_000_000), false],
  ["a negative nanosecond", at(0n, -1), false],
])("%s is or is not a time", (_, timestamp, expected) => {
  expect(isTimestamp(timestamp)).toBe(expected);
});
