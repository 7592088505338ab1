import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { emptyRoot, hashLeaf, hashNode } from "./hash.ts";
import { tree as published } from "./published-vectors.ts";
import { createReference, leafAt } from "./slow-reference.ts";
import {
  type ConsistencyClaim,
  type InclusionClaim,
  verifyConsistency,
  verifyInclusion,
} from "./verify-proof.ts";

const reference = createReference(leafAt);

function inclusionOf(index: number, size: number): InclusionClaim {
  const leafHash = hashLeaf(leafAt(index));
  return { leafHash, index, size, proof: reference.inclusion(index, size), root: reference.root(size) };
}

function consistencyOf(first: number, second: number): ConsistencyClaim {
  const [firstRoot, secondRoot] = [reference.root(first), reference.root(second)];
  return {
    first,
    second,
    firstRoot,
    secondRoot,
    proof: first > 0 ? reference.consistency(first, second) : [],
  };
}

function* flipped(bytes: Uint8Array): Iterable<Uint8Array> {
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const other = Uint8Array.from(bytes);
    other[Math.floor(bit / 8)]! ^= 1 << (bit % 8);
    yield other;
  }
}

function* withOneFlipped(proof: readonly Uint8Array[]): Iterable<readonly Uint8Array[]> {
  for (const [at, hash] of proof.entries()) for (const other of flipped(hash)) yield proof.with(at, other);
}

/** Proofs that are no longer what the claim needs, by what was done to them. */
function* spoilt(proof: readonly Uint8Array[]): Iterable<readonly [string, readonly Uint8Array[]]> {
  const hash = hashLeaf(Buffer.from("none of the tree"));
  for (let at = 0; at <= proof.length; at += 1) {
    yield [`one more at ${at}`, proof.toSpliced(at, 0, hash)];
    if (at > 0) yield [`hash ${at - 1} twice`, proof.toSpliced(at, 0, proof[at - 1]!)];
    if (at < proof.length) {
      yield [`without hash ${at}`, proof.toSpliced(at, 1)];
      yield [`hash ${at} too short`, proof.with(at, proof[at]!.subarray(1))];
      yield [`hash ${at} too long`, proof.with(at, Buffer.concat([proof[at]!, Uint8Array.of(0)]))];
      yield [`hash ${at} empty`, proof.with(at, new Uint8Array())];
    }
    if (at < proof.length - 1)
      yield [`hashes ${at} and ${at + 1} swapped`, proof.with(at, proof[at + 1]!).with(at + 1, proof[at]!)];
  }
}

const largest = 300;
const oddCases = [1, 2, 3, 4, 5, 7, 8, 12, 13, 64, 255, 256, 257, 299];

describe("inclusion", () => {
  test("every proof by the RFC's definition holds, at every size up to 300", () => {
    for (let size = 1; size <= largest; size += 1) {
      for (let index = 0; index < size; index += 1) {
        if (!verifyInclusion(inclusionOf(index, size))) expect.fail(`leaf ${index} of ${size}`);
      }
    }
  });

  test("the published leaves are included under the published roots", () => {
    const known = createReference((index) => published.leaves[index]!);
    for (const [size, root] of published.rootBySize.entries()) {
      for (let index = 0; index < size; index += 1) {
        const leafHash = hashLeaf(published.leaves[index]!);
        const claim = { leafHash, index, size, proof: known.inclusion(index, size), root };
        expect(verifyInclusion(claim)).toBe(true);
      }
    }
  });

  test("a single bit flipped in the leaf hash, the root or any hash of the proof is refused", () => {
    for (const size of oddCases) {
      const claim = inclusionOf(Math.floor(size / 2), size);
      const changed = [
        ...Array.from(flipped(claim.leafHash), (leafHash) => ({ ...claim, leafHash })),
        ...Array.from(flipped(claim.root), (root) => ({ ...claim, root })),
        ...Array.from(withOneFlipped(claim.proof), (proof) => ({ ...claim, proof })),
      ];
      expect(changed.filter(verifyInclusion)).toEqual([]);
    }
  });

  test("a proof with a hash more, less, twice, swapped or of another length is refused", () => {
    for (const size of oddCases) {
      const claim = inclusionOf(size - 1, size);
      for (const [what, proof] of spoilt(claim.proof))
        expect([size, what, verifyInclusion({ ...claim, proof })]).toEqual([size, what, false]);
    }
  });

  test("a proof holds for no other index of its tree", () => {
    for (let size = 1; size <= 40; size += 1) {
      for (let index = 0; index < size; index += 1) {
        const claim = inclusionOf(index, size);
        for (let other = 0; other <= size + 1; other += 1) {
          if (verifyInclusion({ ...claim, index: other }) !== (other === index))
            expect.fail(`the proof of leaf ${index} as one of leaf ${other} of ${size}`);
        }
      }
    }
  });

  test("a proof holds under another size only where the path takes the same turns", () => {
    for (let size = 1; size <= 40; size += 1) {
      for (let index = 0; index < size; index += 1) {
        const claim = inclusionOf(index, size);
        for (let other = 0; other <= 80; other += 1) {
          const same = other > index && turns(index, other) === turns(index, size);
          if (verifyInclusion({ ...claim, size: other }) !== same)
            expect.fail(`leaf ${index} of ${size} as one of ${other} leaves`);
        }
      }
    }
  });

  test("a leaf of another tree is refused, whatever its place", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.nat(), fc.nat(), (size, a, b) => {
        const [index, other] = [a % size, b % (size + 5)];
        const leafHash = hashLeaf(leafAt(other));
        expect(verifyInclusion({ ...inclusionOf(index, size), leafHash })).toBe(other === index);
      }),
    );
  });

  test("the one leaf of a tree is its root; no leaf is in a tree of none", () => {
    const leafHash = hashLeaf(leafAt(0));
    expect(verifyInclusion({ leafHash, index: 0, size: 1, proof: [], root: leafHash })).toBe(true);
    expect(verifyInclusion({ leafHash: emptyRoot, index: 0, size: 0, proof: [], root: emptyRoot })).toBe(
      false,
    );
  });

  const wrong = [-1, 0.5, NaN, Infinity, -Infinity, 2 ** 53, -0.5];
  test.each(wrong)("an index or size of %d is refused and does not throw", (value) => {
    expect(verifyInclusion({ ...inclusionOf(3, 7), index: value })).toBe(false);
    expect(verifyInclusion({ ...inclusionOf(3, 7), size: value })).toBe(false);
    expect(verifyInclusion({ ...inclusionOf(3, 7), index: value, size: value })).toBe(false);
  });

  test.each([0, 31, 33])("a leaf hash or root of %i bytes is refused and does not throw", (length) => {
    const claim = inclusionOf(0, 1);
    const other = Buffer.concat([claim.root, Uint8Array.of(0)]).subarray(0, length);
    expect(verifyInclusion({ ...claim, leafHash: other })).toBe(false);
    expect(verifyInclusion({ ...claim, root: other })).toBe(false);
    expect(verifyInclusion({ ...claim, leafHash: other, root: other })).toBe(false);
  });
});

describe("consistency", () => {
  test("every proof by the RFC's definition holds, between all sizes up to 300", () => {
    for (let second = 0; second <= largest; second += 1) {
      for (let first = 0; first <= second; first += 1) {
        if (!verifyConsistency(consistencyOf(first, second))) expect.fail(`${first} in ${second}`);
      }
    }
  });

  test("a single bit flipped in either root or in any hash of the proof is refused", () => {
    for (const second of oddCases.slice(1)) {
      for (const first of [1, Math.ceil(second / 2), second - 1]) {
        const claim = consistencyOf(first, second);
        const changed = [
          ...Array.from(flipped(claim.firstRoot), (firstRoot) => ({ ...claim, firstRoot })),
          ...Array.from(flipped(claim.secondRoot), (secondRoot) => ({ ...claim, secondRoot })),
          ...Array.from(withOneFlipped(claim.proof), (proof) => ({ ...claim, proof })),
        ];
        expect(changed.filter(verifyConsistency)).toEqual([]);
      }
    }
  });

  test("a proof with a hash more, less, twice, swapped or of another length is refused", () => {
    for (const second of oddCases) {
      for (const first of [0, 1, Math.ceil(second / 2), second - 1, second]) {
        const claim = consistencyOf(first, second);
        for (const [what, proof] of spoilt(claim.proof))
          expect([first, second, what, verifyConsistency({ ...claim, proof })]).toEqual([
            first,
            second,
            what,
            false,
          ]);
      }
    }
  });

  test("a proof holds for no other first size", () => {
    for (let second = 1; second <= 35; second += 1) {
      for (let first = 1; first <= second; first += 1) {
        const claim = consistencyOf(first, second);
        for (let other = 0; other <= second + 1; other += 1) {
          if (verifyConsistency({ ...claim, first: other }) !== (other === first))
            expect.fail(`${first} in ${second} as one of ${other}`);
        }
      }
    }
  });

  test("a proof holds under another second size only where the path takes the same turns", () => {
    for (let second = 1; second <= 35; second += 1) {
      for (let first = 1; first < second; first += 1) {
        const claim = consistencyOf(first, second);
        for (let other = 0; other <= 70; other += 1) {
          const same = other > first && turns(first - 1, other) === turns(first - 1, second);
          if (verifyConsistency({ ...claim, second: other }) !== same)
            expect.fail(`${first} in ${second} as one in ${other}`);
        }
      }
    }
  });

  test("a tree in which an earlier leaf was changed, dropped or moved is not consistent with what it was", () => {
    const edit = fc.constantFrom("change", "drop", "swap");
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 120 }), fc.nat(), fc.nat(), edit, (second, a, b, how) => {
        const first = 1 + (a % second);
        const at = b % first;
        const moved = (index: number) => {
          if (how === "change") return index === at ? 1_000 : index;
          if (how === "drop") return index >= at ? index + 1 : index;
          const next = at + 1;
          return index === at ? next : index === next ? at : index;
        };
        const rewritten = createReference((index) => leafAt(moved(index)));
        const before = how === "swap" && at === first - 1 ? second : first; // The second of the two lies behind `first`.
        if (how === "swap" && at === second - 1) return;
        const claim = {
          first: before,
          second,
          firstRoot: reference.root(before),
          secondRoot: rewritten.root(second),
          proof: rewritten.consistency(before, second),
        };
        expect(verifyConsistency(claim)).toBe(false);
      }),
      { numRuns: 150 },
    );
  });

  test("any tree begins with the empty one, whose root is the root of nothing", () => {
    const [root, other] = [reference.root(7), reference.root(6)];
    const fromNothing = { first: 0, second: 7, firstRoot: emptyRoot, secondRoot: root, proof: [] };
    expect(verifyConsistency(fromNothing)).toBe(true);
    expect(verifyConsistency({ ...fromNothing, firstRoot: other })).toBe(false);
    expect(verifyConsistency({ ...fromNothing, firstRoot: root })).toBe(false);
    expect(verifyConsistency({ ...fromNothing, proof: [root] })).toBe(false);
    expect(verifyConsistency({ ...fromNothing, second: 0 })).toBe(false);
    expect(verifyConsistency({ ...fromNothing, second: 0, secondRoot: emptyRoot })).toBe(true);
    expect(verifyConsistency({ ...fromNothing, second: 0, firstRoot: root })).toBe(false);
  });

  test("trees of one size are consistent if their roots are the same, and without a proof", () => {
    const same = consistencyOf(7, 7);
    expect(verifyConsistency(same)).toBe(true);
    expect(verifyConsistency({ ...same, secondRoot: reference.root(6) })).toBe(false);
    expect(verifyConsistency({ ...same, proof: [same.firstRoot] })).toBe(false);
  });

  const wrong = [-1, 0.5, NaN, Infinity, -Infinity, 2 ** 53];
  test.each(wrong)("a size of %d is refused and does not throw", (value) => {
    expect(verifyConsistency({ ...consistencyOf(3, 7), first: value })).toBe(false);
    expect(verifyConsistency({ ...consistencyOf(3, 7), second: value })).toBe(false);
    expect(verifyConsistency({ ...consistencyOf(3, 3), first: value, second: value })).toBe(false);
  });

  test("a first size above the second is refused", () => {
    const { firstRoot, secondRoot, proof } = consistencyOf(3, 7);
    const claim = { first: 7, second: 3, firstRoot: secondRoot, secondRoot: firstRoot, proof };
    expect(verifyConsistency(claim)).toBe(false);
  });

  test.each([0, 31, 33])("a root of %i bytes is refused and does not throw", (length) => {
    const claim = consistencyOf(4, 4);
    const other = Buffer.concat([claim.firstRoot, Uint8Array.of(0)]).subarray(0, length);
    expect(verifyConsistency({ ...claim, firstRoot: other })).toBe(false);
    expect(verifyConsistency({ ...claim, secondRoot: other })).toBe(false);
    expect(verifyConsistency({ ...claim, firstRoot: other, secondRoot: other })).toBe(false);
    expect(verifyConsistency({ ...consistencyOf(4, 7), firstRoot: other })).toBe(false);
  });
});

test("hashes and sizes made up at random prove nothing and do not throw", () => {
  const hash = fc.uint8Array({ minLength: 31, maxLength: 33 });
  const proof = fc.array(hash, { maxLength: 8 });
  const count = fc.oneof(fc.integer({ min: -2, max: 300 }), fc.double(), fc.maxSafeNat());
  fc.assert(
    fc.property(count, count, hash, hash, proof, (a, b, one, other, hashes) => {
      fc.pre(!Buffer.from(one).equals(other));
      expect(verifyInclusion({ index: a, size: b, leafHash: one, root: other, proof: hashes })).toBe(false);
      const claim = { first: a, second: b, firstRoot: one, secondRoot: other, proof: hashes };
      expect(verifyConsistency(claim)).toBe(false);
    }),
    { numRuns: 400 },
  );
});

test("a proof that goes on above the root is refused, also under the root that it leads to", () => {
  const hash = hashLeaf(Buffer.from("none of the tree"));
  for (const size of oddCases) {
    const { root, proof, ...leaf } = inclusionOf(Math.floor(size / 2), size);
    const higher = { ...leaf, proof: [...proof, hash] };
    expect(verifyInclusion({ ...higher, root: hashNode(hash, root) })).toBe(false);
    expect(verifyInclusion({ ...higher, root: hashNode(root, hash) })).toBe(false);
  }
  for (const second of oddCases.slice(1)) {
    for (const first of [1, Math.ceil(second / 2), second - 1]) {
      const claim = consistencyOf(first, second);
      const firstRoot = hashNode(hash, claim.firstRoot);
      const secondRoot = hashNode(hash, claim.secondRoot);
      const proof = [...claim.proof, hash];
      expect(verifyConsistency({ ...claim, proof, firstRoot, secondRoot })).toBe(false);
      expect(verifyConsistency({ ...claim, proof, secondRoot })).toBe(false);
    }
  }
});

test("a proof of a million hashes is refused", () => {
  const hash = hashLeaf(leafAt(0));
  const proof = Array.from({ length: 1_000_000 }, () => hash);
  expect(verifyInclusion({ ...inclusionOf(5, 300), proof })).toBe(false);
  expect(verifyConsistency({ ...consistencyOf(5, 300), proof })).toBe(false);
  expect(verifyConsistency({ ...consistencyOf(0, 300), proof })).toBe(false);
});

test("at 2^53 - 1 leaves proofs hold and their flipped bits do not", () => {
  const size = Number.MAX_SAFE_INTEGER;
  const index = 2 ** 52 - 1;
  const isMarked = (start: number, end: number) => index >= start && index < end;
  const sparse = createReference(
    (at) => leafAt(at === index ? 1 : 0),
    (start, end) => (isMarked(start, end) ? `${start}:${end}` : `${end - start} equal`),
  );
  const root = sparse.root(size);
  const included = { leafHash: hashLeaf(leafAt(1)), index, size, root, proof: sparse.inclusion(index, size) };
  expect(verifyInclusion(included)).toBe(true);
  expect(verifyInclusion({ ...included, index: index + 1 })).toBe(false);
  const firstRoot = sparse.root(index + 2);
  const grown = { first: index + 2, second: size, firstRoot, secondRoot: root };
  const proof = sparse.consistency(index + 2, size);
  expect(verifyConsistency({ ...grown, proof })).toBe(true);
  const changed = Array.from(withOneFlipped(proof), (other) => ({ ...grown, proof: other }));
  expect(changed.filter(verifyConsistency)).toEqual([]);
});

/** Left or right at each step from the root to leaf `index`, which is what a verifier makes of the sizes. */
function turns(index: number, size: number): string {
  if (size === 1) return "";
  let k = 1;
  while (k * 2 < size) k *= 2;
  return index < k ? `L${turns(index, k)}` : `R${turns(index - k, size - k)}`;
}
