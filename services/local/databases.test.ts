import { expect, test } from "vitest";

import { withDatabase } from "./databases.ts";

test.each([
  [
    "postgresql://postgres@/postgres?host=%2Fa%20b&port=5432",
    "postgresql://postgres@/case?host=%2Fa%20b&port=5432",
  ],
  ["postgresql://me:pw@db:5432/postgres", "postgresql://me:pw@db:5432/case"],
  ["postgres://db", "postgres://db/case"],
  ["postgres://db?sslmode=require", "postgres://db/case?sslmode=require"],
])("%s names another database and keeps the rest", (url, expected) => {
  expect(withDatabase(url, "case")).toBe(expected);
});

test("another user takes the place of the one named, and of the password", () => {
  expect(withDatabase("postgres://me:pw@db/x?a=b", "case", "case_app")).toBe(
    "postgres://case_app@db/case?a=b",
  );
  expect(withDatabase("postgres://db/x", "case", "case_app")).toBe("postgres://case_app@db/case");
});

test("what is no connection string is refused, and not repeated: it may hold a password", () => {
  expect(() => withDatabase("host=db password=secret", "case")).toThrow(/^not a connection string$/);
});
