import { expect, test } from "vitest";
import { decodeContent, encodeContent } from "./content-bytes.ts";

const people = [{ contact: "c", role: "applicant", name: "Ada “A.” Byron" }];

test("content gives the bytes that commitments were taken of, whatever the order of its keys", () => {
  const bytes = encodeContent({ people, summary: "line\nline", title: "Größe" });
  expect(bytes.toString()).toBe(
    '{"title":"Größe","summary":"line\\nline","people":[{"name":"Ada “A.” Byron","role":"applicant","contact":"c"}]}',
  );
  expect(encodeContent(decodeContent(bytes)).equals(bytes)).toBe(true);
});

test.each(["", "null", "[]", '{"title":1}', '{"title":"t","summary":"s","people":[{}]}'])(
  "damaged content is not passed on: %s",
  (text) => {
    expect(() => decodeContent(Buffer.from(text))).toThrow(Error);
  },
);
