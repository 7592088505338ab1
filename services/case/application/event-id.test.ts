import { expect, test } from "vitest";
import { nextEventId } from "./event-id.ts";
import { millisecondsOf } from "../domain/event-time.ts";

const at = new Date("2026-03-04T05:06:07.890Z");

test("an event id is a version 7 UUID of its millisecond", () => {
  const id = nextEventId(at, undefined);
  expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(millisecondsOf(id)).toBe(at.getTime());
});

test.each([0, -1, -3_600_000, 3_600_000])(
  "ids of a case sort as its versions do when the clock moves by %d ms",
  (stepMs) => {
    const first = nextEventId(at, undefined);
    const second = nextEventId(new Date(at.getTime() + stepMs), first);
    const third = nextEventId(at, second);
    expect([third, second, first].toSorted()).toEqual([first, second, third]);
  },
);
