import fc from "fast-check";
import { expect, test } from "vitest";

import { emptyRoot } from "./hash.ts";
import { proveConsistency, proveInclusion, rootAt } from "./prove.ts";
import { createReference, leafAt, leafHashes } from "./slow-reference.ts";
import { type ReadTile, tilePath, tilesOf, tileWidth } from "./tile.ts";
import { readFrom, tilesInMemory } from "./tiles-in-memory.ts";

const join = (hashes: readonly Uint8Array[]) => Buffer.concat(hashes).toString("hex");

const small = createReference(leafAt);
/** By size, each with the tiles of that size alone. */
const readers = Array.from({ length: 301 }, (_, size) => readFrom(tilesInMemory(leafHashes(size))));

test("at every size up to 300 the tiles of that size alone give the RFC's root", async () => {
  for (const [size, readTile] of readers.entries())
    expect(join([await rootAt(size, readTile)])).toBe(join([small.root(size)]));
});

/** All up to 66 leaves and around a full tile; elsewhere each seventeenth, as half a tile is hashed for a proof. */
const strideAt = (size: number) => (size <= 66 || Math.abs(size - 256) < 2 ? 1 : 17);

test("at every size up to 300 the inclusion proofs are the RFC's, of each leaf in all small trees", async () => {
  for (const [size, readTile] of readers.entries()) {
    for (let index = size - 1; index >= 0; index -= strideAt(size)) {
      const proof = await proveInclusion(index, size, readTile);
      if (join(proof) !== join(small.inclusion(index, size))) expect.fail(`leaf ${index} of ${size}`);
    }
  }
}, 120_000);

test("up to 300 leaves the consistency proofs are the RFC's, between all sizes of small trees", async () => {
  for (const [second, readTile] of readers.entries()) {
    for (let first = second; first > 0; first -= strideAt(second)) {
      const proof = await proveConsistency(first, second, readTile);
      if (join(proof) !== join(small.consistency(first, second))) expect.fail(`${first} in ${second}`);
    }
  }
}, 120_000);

test("at 100,000 real leaves any root and any proof is the RFC's, read from that size's tiles", async () => {
  const count = 100_000;
  const reference = createReference(leafAt);
  const hashes = leafHashes(count);
  const sizes = fc.oneof(
    fc.integer({ min: 1, max: count }),
    fc.constantFrom(255, 256, 257, 65_535, 65_536, 65_537),
  );
  await fc.assert(
    fc.asyncProperty(sizes, fc.nat(), async (size, seed) => {
      const readTile = readFrom(tilesInMemory(hashes.slice(0, size)));
      const index = seed % size;
      expect(join([await rootAt(size, readTile)])).toBe(join([reference.root(size)]));
      expect(join(await proveInclusion(index, size, readTile))).toBe(join(reference.inclusion(index, size)));
      const proof = await proveConsistency(index + 1, size, readTile);
      expect(join(proof)).toBe(join(reference.consistency(index + 1, size)));
    }),
    { numRuns: 6 },
  );
});

/** A tree as large as one likes: all leaves are equal but those at `special`. */
function sparseTree(special: readonly number[]) {
  const reference = createReference(
    (index) => (special.includes(index) ? leafAt(index) : new Uint8Array()),
    (start, end) =>
      special.some((index) => index >= start && index < end) ? `${start}:${end}` : `${end - start} equal`,
  );
  const read: string[] = [];
  const readTile: ReadTile = async (tile) => {
    read.push(tilePath(tile));
    const span = tileWidth ** tile.level;
    const starts = Array.from({ length: tile.width }, (_, n) => (tile.index * tileWidth + n) * span);
    return Buffer.concat(starts.map((start) => reference.rootOfRange(start, start + span)));
  };
  return { reference, readTile, read };
}

/** Full tiles below `size`, and the partial tile of each level: what a tree of this size has. */
function isTileOf(size: number, path: string) {
  const [, level = "", digits = "", width = "256"] = /^tile\/(\d+)\/([x\d/]+)(?:\.p\/(\d+))?$/.exec(path)!;
  const hashes = Math.floor(size / tileWidth ** Number(level));
  const index = Number(digits.replaceAll(/[x/]/g, ""));
  return Number(width) === Math.min(tileWidth, hashes - index * tileWidth);
}

const largeSize = fc
  .tuple(fc.integer({ min: 1, max: 53 }), fc.maxSafeNat())
  .map(([bits, seed]) => 2 ** (bits - 1) + (seed % 2 ** (bits - 1)));

test("up to 2^53 - 1 leaves any root and any proof is the RFC's, and reads tiles of that size, each once", async () => {
  await fc.assert(
    fc.asyncProperty(
      largeSize,
      fc.array(fc.maxSafeNat(), { minLength: 1, maxLength: 6 }),
      async (size, seeds) => {
        const special = seeds.map((seed) => seed % size);
        const index = special[0]!;
        const { reference, readTile, read } = sparseTree([0, size - 1, ...special]);
        const expectReads = () => {
          const paths = read.splice(0);
          expect(new Set(paths).size).toBe(paths.length);
          expect(paths.length).toBeLessThanOrEqual(14);
          for (const path of paths) expect([path, isTileOf(size, path)]).toEqual([path, true]);
        };
        expect(join([await rootAt(size, readTile)])).toBe(join([reference.root(size)]));
        expectReads();
        expect(join(await proveInclusion(index, size, readTile))).toBe(
          join(reference.inclusion(index, size)),
        );
        expectReads();
        const proof = await proveConsistency(index + 1, size, readTile);
        expect(join(proof)).toBe(join(reference.consistency(index + 1, size)));
        expectReads();
      },
    ),
    {
      numRuns: 60,
      examples: [
        [Number.MAX_SAFE_INTEGER, [2 ** 52, 77]],
        [2 ** 40, [2 ** 39 - 1]],
      ],
    },
  );
});

const tilesOf70000 = tilesInMemory(leafHashes(70_000));

test("the tiles of a proof are asked for at the same time", async () => {
  const size = 70_000;
  const readTile = readFrom(tilesOf70000);
  const asked: string[] = [];
  const gate = Promise.withResolvers<void>();
  const proof = proveInclusion(5, size, async (tile) => {
    asked.push(tilePath(tile));
    await gate.promise;
    return readTile(tile);
  });
  expect(asked.toSorted()).toEqual(["tile/0/000", "tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17"]);
  gate.resolve();
  expect(await proof).toHaveLength(17);
});

test("a proof has no bytes in common with the tiles it was made from", async () => {
  const tiles = tilesInMemory(leafHashes(3));
  const proof = await proveInclusion(0, 3, readFrom(tiles));
  const before = join(proof);
  for (const bytes of tiles.values()) bytes.fill(0);
  expect(join(proof)).toBe(before);
});

test("size 0 has the root of nothing, no inclusion, and begins every tree, without reading a tile", async () => {
  const readTile = () => expect.fail("nothing is to be read");
  expect(await rootAt(0, readTile)).toEqual(emptyRoot);
  expect(await proveConsistency(0, 0, readTile)).toEqual([]);
  expect(await proveConsistency(0, 1_000, readTile)).toEqual([]);
  await expect(proveInclusion(0, 0, readTile)).rejects.toThrow(RangeError);
});

test.each([
  [5, 5],
  [6, 5],
  [-1, 5],
  [0.5, 5],
  [NaN, 5],
  [0, 2 ** 53],
  [0, -1],
])("leaf %d of %d is refused with a RangeError before a tile is read", async (index, size) => {
  const readTile = () => expect.fail("nothing is to be read");
  await expect(proveInclusion(index, size, readTile)).rejects.toThrow(RangeError);
});

test.each([
  [6, 5],
  [-1, 5],
  [0.5, 5],
  [NaN, 5],
  [1, 2 ** 53],
  [1, NaN],
])("consistency of %d and %d is refused with a RangeError before a tile is read", async (first, second) => {
  const readTile = () => expect.fail("nothing is to be read");
  await expect(proveConsistency(first, second, readTile)).rejects.toThrow(RangeError);
});

test.each([
  ["lacks a hash", (tile: Uint8Array) => tile.subarray(32)],
  ["has a hash too many", (tile: Uint8Array) => Buffer.concat([tile, tile.subarray(0, 32)])],
  ["lacks a byte", (tile: Uint8Array) => tile.subarray(1)],
  ["is empty", () => new Uint8Array()],
])("a tile that %s is an error that names it, not a proof", async (_, damage) => {
  const readTile = readFrom(tilesInMemory(leafHashes(300)));
  const damaged: ReadTile = async (tile) =>
    tile.width === 44 ? damage(await readTile(tile)) : readTile(tile);
  const named = /tile\/0\/001\.p\/44/;
  await expect(rootAt(300, damaged)).rejects.toThrow(named);
  await expect(proveInclusion(0, 300, damaged)).rejects.toThrow(named);
  await expect(proveConsistency(3, 300, damaged)).rejects.toThrow(named);
});

test("what reading a tile throws comes through", async () => {
  const gone = new Error("the disk is gone");
  await expect(proveInclusion(3, 300, () => Promise.reject(gone))).rejects.toBe(gone);
});

test("all tiles of a tree are enough for its proofs, and a root's tiles are those at its right edge", async () => {
  const read: string[] = [];
  const readTile = readFrom(tilesOf70000);
  await rootAt(70_000, (tile) => {
    read.push(tilePath(tile));
    return readTile(tile);
  });
  expect(read.toSorted()).toEqual(
    Array.from(tilesOf(70_000))
      .filter(({ width }) => width < tileWidth)
      .map(tilePath)
      .toSorted(),
  );
});
