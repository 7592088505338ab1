import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { decisionHash } from "./decision-hash.ts";

const commitment = new Uint8Array(32).fill(0xab);

test("a decision hash is over the lines that its documentation names", () => {
  const lines = `caseflow decision v1\nacme\ncase-1\n5\n${"ab".repeat(32)}\n`;
  expect(Buffer.from(decisionHash("acme", "case-1", 5, commitment))).toEqual(
    createHash("sha256").update(lines).digest(),
  );
});

test("every part of a decision changes its hash", () => {
  const hashes = [
    decisionHash("acme", "case-1", 5, commitment),
    decisionHash("acme2", "case-1", 5, commitment),
    decisionHash("acme", "case-2", 5, commitment),
    decisionHash("acme", "case-1", 6, commitment),
    decisionHash("acme", "case-1", 5, new Uint8Array(32)),
  ].map((hash) => Buffer.from(hash).toString("hex"));
  expect(new Set(hashes).size).toBe(hashes.length);
});
