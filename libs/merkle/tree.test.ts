import fc from "fast-check";
import { expect, test } from "vitest";

import { emptyRoot, hashLeaf } from "./hash.ts";
import { tree as published } from "./published-vectors.ts";
import { createReference, leafAt, leafHashes } from "./slow-reference.ts";
import { appendLeaves, emptyTree, rootOf, type Tree } from "./tree.ts";

const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

test("the roots over the published leaves are the published ones, from size 0 on", () => {
  const hashes = published.leaves.map(hashLeaf);
  const roots = published.rootBySize.map((_, size) => rootOf(appendLeaves(emptyTree, hashes.slice(0, size))));
  expect(roots.map(hexOf)).toEqual(published.rootBySize.map(hexOf));
  expect(rootOf(emptyTree)).toBe(emptyRoot);
});

test("the root is the RFC's at every size up to 300, leaf by leaf", () => {
  const reference = createReference(leafAt);
  let tree = emptyTree;
  for (const [index, hash] of leafHashes(300).entries()) {
    tree = appendLeaves(tree, [hash]);
    expect(tree.size).toBe(index + 1);
    expect(hexOf(rootOf(tree))).toBe(hexOf(reference.root(index + 1)));
  }
});

test("leaves appended in any batches give the same tree as all at once, and no tree is changed", () => {
  const hashes = leafHashes(700);
  const cuts = fc.array(fc.nat({ max: hashes.length }), { maxLength: 12 });
  fc.assert(
    fc.property(cuts, (at) => {
      const bounds = [0, ...at.toSorted((a, b) => a - b), hashes.length];
      let tree = emptyTree;
      for (const [n, end] of bounds.entries()) {
        const before = structuredClone(tree);
        const next = appendLeaves(tree, hashes.slice(bounds[n - 1] ?? 0, end));
        expect(tree).toEqual(before);
        tree = next;
      }
      expect(tree).toEqual(appendLeaves(emptyTree, hashes));
    }),
  );
});

test("the edge has one root for each set bit of the size, of the subtree it stands for", () => {
  const reference = createReference(leafAt);
  const { edge } = appendLeaves(emptyTree, leafHashes(0b100110101));
  const bounds = [0, 256, 256 + 32, 256 + 32 + 16, 256 + 32 + 16 + 4, 309];
  expect(edge.map(hexOf)).toEqual(
    bounds.slice(1).map((end, n) => hexOf(reference.rootOfRange(bounds[n]!, end))),
  );
});

test("a leaf's array may be used again: the tree has a copy", () => {
  const scratch = new Uint8Array(32);
  function* inOneArray() {
    for (const hash of leafHashes(77)) {
      scratch.set(hash);
      yield scratch;
    }
  }
  const tree = appendLeaves(emptyTree, inOneArray());
  scratch.fill(0);
  expect(tree).toEqual(appendLeaves(emptyTree, leafHashes(77)));
});

const hash = hashLeaf(new Uint8Array());

test.each<[string, Tree]>([
  ["too few subtrees", { size: 3, edge: [hash] }],
  ["too many subtrees", { size: 4, edge: [hash, hash] }],
  ["subtrees of no leaves", { size: 0, edge: [hash] }],
  ["a short subtree hash", { size: 1, edge: [hash.subarray(1)] }],
  ["half a leaf", { size: 0.5, edge: [] }],
  ["a negative size", { size: -1, edge: [hash] }],
  ["a size beyond 2^53 - 1", { size: 2 ** 53, edge: [hash] }],
  ["a size that is no number", { size: NaN, edge: [] }],
])("a tree with %s throws a RangeError rather than give a root", (_, tree) => {
  expect(() => rootOf(tree)).toThrow(RangeError);
  expect(() => appendLeaves(tree, [])).toThrow(RangeError);
});

test("a leaf hash of another length, and a leaf beyond 2^53 - 1, throw a RangeError", () => {
  expect(() => appendLeaves(emptyTree, [hash.subarray(1)])).toThrow(RangeError);
  expect(() => appendLeaves(emptyTree, [Buffer.concat([hash, hash])])).toThrow(RangeError);
  const full: Tree = { size: Number.MAX_SAFE_INTEGER, edge: Array.from({ length: 53 }, () => hash) };
  expect(rootOf(full)).toHaveLength(32);
  expect(() => appendLeaves(full, [hash])).toThrow(RangeError);
});

// All leaves are equal, so that a range's root depends on its length alone.
const ofEqualLeaves = createReference(
  () => new Uint8Array(),
  (start, end) => `${end - start}`,
);

test("a million leaves out of a generator leave an edge of seven hashes, and the RFC's root", () => {
  function* leaves() {
    for (let n = 0; n < 1_000_000; n += 1) yield hash;
  }
  const tree = appendLeaves(emptyTree, leaves());
  expect(tree).toMatchObject({ size: 1_000_000 });
  expect(tree.edge).toHaveLength(7);
  expect(hexOf(rootOf(tree))).toBe(hexOf(ofEqualLeaves.root(1_000_000)));
});

test("leaves are taken one at a time: none behind one that is refused", () => {
  let taken = 0;
  function* leaves() {
    for (; ; taken += 1) yield taken === 3 ? new Uint8Array() : hash;
  }
  expect(() => appendLeaves(emptyTree, leaves())).toThrow(RangeError);
  expect(taken).toBe(3);
});

test.each([2 ** 31, 2 ** 32, 2 ** 40, 2 ** 52])(
  "the leaf that makes a tree perfect at %d leaves one hash",
  (size) => {
    const edge = [];
    for (let span = size / 2; span >= 1; span /= 2) edge.push(ofEqualLeaves.root(span));
    const tree = appendLeaves({ size: size - 1, edge }, [hash]);
    expect(tree).toEqual({ size, edge: [ofEqualLeaves.root(size)] });
    const next = appendLeaves(tree, [hash, hash, hash]);
    expect(hexOf(rootOf(next))).toBe(hexOf(ofEqualLeaves.root(size + 3)));
  },
);
