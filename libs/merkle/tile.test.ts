import fc from "fast-check";
import { expect, test } from "vitest";

import { createReference, leafAt, leafHashes } from "./slow-reference.ts";
import { entriesPath, hashTile, newTiles, type Tile, tilePath, tilesOf, tileWidth } from "./tile.ts";
import { tilesInMemory } from "./tiles-in-memory.ts";

test.each([
  [0, 0, 256, "tile/0/000"],
  [0, 5, 255, "tile/0/005.p/255"],
  [3, 999, 1, "tile/3/999.p/1"],
  [1, 1_000, 256, "tile/1/x001/000"],
  [0, 1_067, 3, "tile/0/x001/067.p/3"],
  [0, 999_999, 256, "tile/0/x999/999"],
  [2, 1_234_067, 256, "tile/2/x001/x234/067"],
  [63, 2 ** 45 - 1, 17, "tile/63/x035/x184/x372/x088/831.p/17"],
])("tile %i/%i of width %i is served at %s %s", (level, index, width, path) => {
  expect(tilePath({ level, index, width })).toBe(path);
  expect(entriesPath(index, width)).toBe(path.replace(/^tile\/\d+/, "tile/entries"));
});

test.each<[string, Partial<Tile>]>([
  ["a negative level", { level: -1 }],
  ["a level above 63", { level: 64 }],
  ["half a level", { level: 0.5 }],
  ["a negative index", { index: -1 }],
  ["an index beyond 2^53 - 1", { index: 2 ** 53 }],
  ["half an index", { index: 0.5 }],
  ["no hash", { width: 0 }],
  ["257 hashes", { width: 257 }],
  ["a width that is no number", { width: NaN }],
])("a tile of %s has no path: it throws a RangeError", (_, wrong) => {
  const tile = { level: 0, index: 0, width: 256, ...wrong };
  expect(() => tilePath(tile)).toThrow(RangeError);
  if (!("level" in wrong)) expect(() => entriesPath(tile.index, tile.width)).toThrow(RangeError);
});

test("a tree of 70,000 leaves has the tiles that the specification's example counts", () => {
  const tiles = Array.from(tilesOf(70_000));
  const widths = (level: number) => tiles.filter((tile) => tile.level === level).map(({ width }) => width);
  expect(widths(0)).toEqual([...Array.from({ length: 273 }, () => 256), 112]);
  expect(widths(1)).toEqual([256, 17]);
  expect(widths(2)).toEqual([1]);
  expect(tiles).toHaveLength(277);
});

test("a tree of 256 leaves has one full tile and a partial one above it, and no leaves have no tile", () => {
  expect(Array.from(tilesOf(256), tilePath)).toEqual(["tile/0/000", "tile/1/000.p/1"]);
  expect(Array.from(tilesOf(1), tilePath)).toEqual(["tile/0/000.p/1"]);
  expect(Array.from(tilesOf(0))).toEqual([]);
});

const size = fc.oneof(
  fc.nat({ max: 700 }),
  fc.nat({ max: 200_000 }),
  fc.constantFrom(255, 256, 257, 65_535, 65_536, 65_537, 131_072),
);
const fullOf = (count: number) => Array.from(tilesOf(count)).filter(({ width }) => width === tileWidth);

test("the new tiles of a growth are the full tiles of the larger tree that the smaller one has not", () => {
  fc.assert(
    fc.property(size, size, (a, b) => {
      const [from, to] = [Math.min(a, b), Math.max(a, b)];
      const had = new Set(fullOf(from).map(tilePath));
      expect(Array.from(newTiles(from, to))).toEqual(fullOf(to).filter((tile) => !had.has(tilePath(tile))));
    }),
    { numRuns: 60 },
  );
});

test("a growth far out is told without walking there", () => {
  const from = 2 ** 48 - 1;
  expect(Array.from(newTiles(from, from))).toEqual([]);
  expect(Array.from(newTiles(from, from + 1), ({ level, index }) => [level, index])).toEqual(
    [0, 1, 2, 3, 4, 5].map((level) => [level, 2 ** (40 - 8 * level) - 1]),
  );
});

test.each([
  [5, 4],
  [-1, 4],
  [0, 2 ** 53],
  [0.5, 4],
])("new tiles from %d to %d leaves throw a RangeError", (from, to) => {
  expect(() => Array.from(newTiles(from, to))).toThrow(RangeError);
});

test("a tile's hashes are the RFC's roots of 256^level leaves each", () => {
  const reference = createReference(leafAt);
  const tiles = tilesInMemory(leafHashes(70_000));
  for (const tile of tilesOf(70_000)) {
    const span = tileWidth ** tile.level;
    const starts = Array.from({ length: tile.width }, (_, n) => (tile.index * tileWidth + n) * span);
    const hashes = starts.map((start) => reference.rootOfRange(start, start + span));
    expect(Buffer.concat(hashes).equals(tiles.get(tilePath(tile))!)).toBe(true);
  }
});

test("only a full tile has a root", () => {
  expect(() => hashTile(new Uint8Array(255 * 32))).toThrow(RangeError);
  expect(() => hashTile(new Uint8Array(128 * 32))).toThrow(RangeError);
  expect(() => hashTile(new Uint8Array(257 * 32))).toThrow(RangeError);
  expect(() => hashTile(new Uint8Array())).toThrow(RangeError);
});
