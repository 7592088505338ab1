import { expect, test } from "vitest";
import { createSuspects } from "./memory.ts";

test("an event that failed alone three times, while others got through between, is the one at fault", () => {
  const suspects = createSuspects();
  expect(suspects.failedAlone("a")).toBe(false);
  suspects.gotThrough();
  expect(suspects.failedAlone("a")).toBe(false);
  suspects.gotThrough();
  expect(suspects.failedAlone("a")).toBe(true);
});

test("an event is not at fault however often it fails while nothing else gets through", () => {
  const suspects = createSuspects();
  const verdicts = Array.from({ length: 100 }, () => suspects.failedAlone("a"));
  expect(new Set(verdicts)).toEqual(new Set([false]));
});
