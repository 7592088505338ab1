import { expect, test } from "vitest";

import { openLedger, type SubjectState } from "./ledger.ts";

const stateOf = (sequence: number): SubjectState => ({
  sequence,
  leafIndex: sequence,
  linkDigest: "00",
  eventId: "id",
  facts: { hiddenCount: 0, approverIds: ["a\0b"], state: "draft" },
});

test("a subject is found as it was last set, whether it is in memory or was put away", () => {
  using ledger = openLedger();
  const count = 10_000; // Many times what is kept in memory.
  for (let number = 0; number < count; number += 1) ledger.setSubject(`s-${number}`, stateOf(1));
  for (let number = 0; number < count; number += 7) ledger.setSubject(`s-${number}`, stateOf(2));
  for (let number = 0; number < count; number += 1) {
    expect(ledger.subject(`s-${number}`)).toEqual(stateOf(number % 7 === 0 ? 2 : 1));
  }
  expect(ledger.subject("s-x")).toBeUndefined();
});

test("an id that comes again is told by the leaf that had it first", () => {
  using ledger = openLedger();
  const id = "019b0000-0000-7000-8000-000000000001";
  expect(ledger.addEventId(id, 4)).toBeUndefined();
  expect(ledger.addEventId(id, 5)).toBe(4);
  expect(ledger.addEventId(id, 6)).toBe(4);
});

test("people with strange names are kept apart", () => {
  using ledger = openLedger();
  ledger.addOverrider("case", "a\0");
  expect(ledger.hasOverridden("case", "a\0")).toBe(true);
  expect(ledger.hasOverridden("case", "a")).toBe(false);
  expect(ledger.hasOverridden("other", "a\0")).toBe(false);
});
