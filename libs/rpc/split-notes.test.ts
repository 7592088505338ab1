import { expect, test } from "vitest";
import { splitNotes } from "./split-notes.ts";

test("notes that fit are one part, as they were", () => {
  const notes = { caseId: "c", replayed: true, none: undefined, subjects: ["a", "b"], empty: [] };
  expect(splitNotes(notes, 8)).toEqual([notes]);
});

test("of longer ones every item is in one part, in its order, and no part has more bytes than it may", () => {
  const notes = { subjects: ["aa", "bb", "cc"], tenant: "t", correlationIds: ['"', "ü", "e", "f"] };
  const parts = splitNotes(notes, 12);
  expect(parts).toEqual([
    { tenant: "t", subjects: ["aa", "bb"] },
    { subjects: ["cc"], correlationIds: ['"'] },
    { correlationIds: ["ü", "e"] },
    { correlationIds: ["f"] },
  ]);
});

test("an item that is longer than a part may be has a part of its own", () => {
  expect(splitNotes({ ids: ["a", "b".repeat(20), "c"] }, 8)).toEqual([
    { ids: ["a"] },
    { ids: ["b".repeat(20)] },
    { ids: ["c"] },
  ]);
});
