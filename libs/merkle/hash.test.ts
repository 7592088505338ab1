import { expect, test } from "vitest";

import { emptyRoot, hashLeaf, hashNode } from "./hash.ts";
import { hashes } from "./published-vectors.ts";

test("the root of nothing and the hashes of leaves are the published ones", () => {
  expect(Buffer.from(emptyRoot)).toEqual(Buffer.from(hashes.emptyRoot));
  expect(Buffer.from(hashLeaf(new Uint8Array()))).toEqual(Buffer.from(hashes.leafOfNothing));
  expect(Buffer.from(hashLeaf(Buffer.from("L123456")))).toEqual(Buffer.from(hashes.leafOfL123456));
});

test("two hashes as one leaf's data and as a node's children hash differently", () => {
  const [left, right] = [hashLeaf(Buffer.from("left")), hashLeaf(Buffer.from("right"))];
  expect(hashLeaf(Buffer.concat([left, right]))).not.toEqual(hashNode(left, right));
  expect(hashNode(right, left)).not.toEqual(hashNode(left, right));
});

test("a hash that was given out stays as it is when others are computed", () => {
  const [left, right] = [hashLeaf(Buffer.from("left")), hashLeaf(Buffer.from("right"))];
  const node = hashNode(left, right);
  const kept = Buffer.from(node);
  hashNode(right, left);
  expect(Buffer.from(node)).toEqual(kept);
});

test.each([0, 31, 33, 64])("a node of a child of %i bytes throws a RangeError", (length) => {
  const hash = hashLeaf(new Uint8Array());
  expect(() => hashNode(new Uint8Array(length), hash)).toThrow(RangeError);
  expect(() => hashNode(hash, new Uint8Array(length))).toThrow(RangeError);
});
