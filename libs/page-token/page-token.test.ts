import { expect, test } from "vitest";
import { makePageToken, readPageToken } from "./page-token.ts";

const scope = ["tenant-a", "cases", '{"state":["draft"]}'];

test("a token gives back its position in its own scope", () => {
  expect(readPageToken(scope, makePageToken(scope, "c-17 ü"))).toBe("c-17 ü");
});

test.each([
  ["another tenant", ["tenant-b", "cases", '{"state":["draft"]}']],
  ["another query", ["tenant-a", "cases", "{}"]],
  ["parts that only join to the same text", ["tenant-acases", "", '{"state":["draft"]}']],
])("a token is refused in the scope of %s", (_name, other) => {
  expect(readPageToken(other, makePageToken(scope, "c-17"))).toBeUndefined();
});

test("a token with any character changed, cut or added is refused", () => {
  const token = makePageToken(scope, "c-17");
  for (let at = 0; at < token.length; at++) {
    const changed = token.slice(0, at) + (token[at] === "A" ? "B" : "A") + token.slice(at + 1);
    expect(readPageToken(scope, changed)).toBeUndefined();
  }
  expect(readPageToken(scope, token.slice(0, -1))).toBeUndefined();
  expect(readPageToken(scope, `${token}A`)).toBeUndefined();
  for (const garbage of ["", " ", "====", "not a token", "💥"]) {
    expect(readPageToken(scope, garbage)).toBeUndefined();
  }
});
