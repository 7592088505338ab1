/**
 * Proofs, made from tiles alone. A proof is a list of subtrees: each is either perfect, then its hashes lie in one tile, or
 * it ends at the right edge of the tree, then it consists of perfect ones. Whatever is asked of a tree of `size` leaves,
 * only tiles of `tilesOf(size)` are read, partial ones in the width they have there; each at most once, all at the same
 * time, and at most two of a level.
 */
import { emptyRoot, hashBytes } from "./hash.ts";
import { hashPerfect, type ReadTile, type Tile, tilePath, tileWidth } from "./tile.ts";
import { checkSize, foldEdge } from "./tree.ts";

/** The leaves from `start` up to `end`, which is not among them. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/**
 * The inclusion proof of leaf `index` in the tree of the first `size` leaves: from the leaf's sibling up to the root's child
 * (PATH of RFC 9162, 2.1.3.1). Empty in a tree of one leaf. Throws a RangeError unless 0 ≤ index < size, and an Error on a
 * tile of wrong length; what `readTile` throws comes through.
 */
export async function proveInclusion(index: number, size: number, readTile: ReadTile): Promise<Uint8Array[]> {
  checkSize(size);
  if (!Number.isSafeInteger(index) || index < 0 || index >= size)
    throw new RangeError(`a tree of ${size} leaves has no leaf ${index}`);
  const { passed } = descend(index + 1, size, ({ start, end }) => end - start === 1);
  return hashRanges(passed.toReversed(), size, readTile);
}

/**
 * The consistency proof that the tree of the first `first` leaves begins that of the first `second` ones (PROOF of RFC 9162,
 * 2.1.4.1). Empty if both are equal or `first` is 0, as any tree begins with the empty one. Throws a RangeError unless
 * 0 ≤ first ≤ second; otherwise as `proveInclusion`.
 */
export async function proveConsistency(
  first: number,
  second: number,
  readTile: ReadTile,
): Promise<Uint8Array[]> {
  checkSize(first);
  checkSize(second);
  if (first > second) throw new RangeError(`a tree of ${second} leaves does not begin with ${first}`);
  if (first === 0) return [];
  const { passed, reached } = descend(first, second, ({ end }) => end === first);
  // A subtree that begins at the first leaf is the whole first tree: the verifier has its root.
  const ranges = reached.start === 0 ? passed : [...passed, reached];
  return hashRanges(ranges.toReversed(), second, readTile);
}

/** The root of the tree of the first `size` leaves; `emptyRoot` at 0. Throws as `proveInclusion`. */
export async function rootAt(size: number, readTile: ReadTile): Promise<Uint8Array> {
  checkSize(size);
  if (size === 0) return emptyRoot;
  const [root] = await hashRanges([{ start: 0, end: size }], size, readTile);
  return root!;
}

/**
 * Goes down from the root, always to the side on which the first `upTo` leaves end, until `arrived`. `passed` are the
 * subtrees on the other side, from the root downwards.
 */
function descend(upTo: number, size: number, arrived: (range: Range) => boolean) {
  const passed: Range[] = [];
  let reached: Range = { start: 0, end: size };
  while (!arrived(reached)) {
    const { start, end } = reached;
    const middle = start + largestPowerBelow(end - start);
    const [left, right] = [
      { start, end: middle },
      { start: middle, end },
    ];
    reached = upTo <= middle ? left : right;
    passed.push(upTo <= middle ? right : left);
  }
  return { passed, reached };
}

/** The hash of each range; each is perfect or ends at `size`. */
async function hashRanges(ranges: readonly Range[], size: number, readTile: ReadTile): Promise<Uint8Array[]> {
  const places = ranges.map((range) => Array.from(perfectIn(range), (part) => locate(part, size)));
  const wanted = new Map(places.flat().map(({ path, tile }) => [path, tile]));
  const tiles = new Map(
    await Promise.all(
      Array.from(wanted, async ([path, tile]) => [path, await readWhole(tile, readTile)] as const),
    ),
  );
  return places.map((parts) => {
    const edge = parts.map(({ path, from, count }) =>
      hashPerfect(tiles.get(path)!.subarray(from * hashBytes, (from + count) * hashBytes)),
    );
    return new Uint8Array(foldEdge(edge)); // Never a view of the reader's own bytes.
  });
}

/** The perfect subtrees that a range consists of, largest first. */
function* perfectIn({ start, end }: Range): Iterable<Range> {
  for (let at = start; at < end;) {
    const next = at + largestPowerBelow(end - at + 1);
    yield { start: at, end: next };
    at = next;
  }
}

/** Where the hashes of a perfect subtree are: `count` hashes of `tile`, from hash `from` on. */
function locate({ start, end }: Range, size: number) {
  let level = 0;
  let [from, count, hashes] = [start, end - start, size];
  for (; count >= tileWidth; level += 1) {
    from /= tileWidth;
    count /= tileWidth;
    hashes = Math.floor(hashes / tileWidth);
  }
  const index = Math.floor(from / tileWidth);
  const tile: Tile = { level, index, width: Math.min(tileWidth, hashes - index * tileWidth) };
  return { tile, path: tilePath(tile), from: from - index * tileWidth, count };
}

async function readWhole(tile: Tile, readTile: ReadTile): Promise<Uint8Array> {
  const hashes = await readTile(tile);
  if (hashes.length !== tile.width * hashBytes)
    throw new Error(`${tilePath(tile)} has ${hashes.length} bytes instead of ${tile.width * hashBytes}`);
  return hashes;
}

/** The largest power of two below `value`, which is at least 2. */
function largestPowerBelow(value: number): number {
  let power = 1;
  while (power * 2 < value) power *= 2;
  return power;
}
