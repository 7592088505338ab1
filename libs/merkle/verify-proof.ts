/**
 * The verifier's half: no tree, no tiles. Hostile input is refused and never throws.
 *
 * A root says nothing of the tree's size, so a size that gives the proof the same shape passes as well (leaf 0 of 3 leaves and of 4,
 * for instance). Take size and root from the same signed checkpoint.
 */
import { emptyRoot, hashBytes, hashNode } from "./hash.ts";

export interface InclusionClaim {
  readonly leafHash: Uint8Array;
  readonly index: number;
  /** Leaves of the tree that has this root. */
  readonly size: number;
  readonly proof: readonly Uint8Array[];
  readonly root: Uint8Array;
}

/** Whether the proof shows that leaf `index` of the tree of `size` leaves with this root is `leafHash` (RFC 9162, 2.1.3.2). */
export function verifyInclusion({ leafHash, index, size, proof, root }: InclusionClaim): boolean {
  if (!isCount(index) || !isCount(size) || index >= size || !areHashes([leafHash, root])) return false;
  let [fn, sn] = [index, size - 1];
  let r = leafHash;
  for (const p of proof) {
    if (sn === 0 || !isHash(p)) return false;
    if (isOdd(fn) || fn === sn) {
      r = hashNode(p, r);
      while (!isOdd(fn) && fn !== 0) [fn, sn] = [half(fn), half(sn)];
    } else {
      r = hashNode(r, p);
    }
    [fn, sn] = [half(fn), half(sn)];
  }
  return sn === 0 && isEqual(r, root);
}

export interface ConsistencyClaim {
  /** Leaves of the earlier tree. */
  readonly first: number;
  /** Leaves of the later tree, at least `first`. */
  readonly second: number;
  readonly firstRoot: Uint8Array;
  readonly secondRoot: Uint8Array;
  readonly proof: readonly Uint8Array[];
}

/**
 * Whether the proof shows that the later tree begins with all leaves of the earlier one, in the same order (RFC 9162, 2.1.4.2,
 * which tells 0 < first < second). Equal sizes take equal roots and an empty proof. Any tree begins with the empty one: from size
 * 0 on, `firstRoot` must be `emptyRoot` and the proof empty (as C2SP tlog-witness asks), and nothing is said about `secondRoot`.
 */
export function verifyConsistency(claim: ConsistencyClaim): boolean {
  const { first, second, firstRoot, secondRoot, proof } = claim;
  if (!isCount(first) || !isCount(second) || first > second || !areHashes([firstRoot, secondRoot]))
    return false;
  if (first === 0 && !isEqual(firstRoot, emptyRoot)) return false;
  if (first === second) return proof.length === 0 && isEqual(firstRoot, secondRoot);
  if (first === 0) return proof.length === 0;
  let [fn, sn] = [first - 1, second - 1];
  while (isOdd(fn)) [fn, sn] = [half(fn), half(sn)];
  // What the walk begins with: the first tree itself if it is perfect, and then the proof leaves it out.
  const [start, rest] = fn === 0 ? [firstRoot, proof] : [proof[0], proof.slice(1)];
  if (start === undefined || !isHash(start)) return false;
  let [fr, sr] = [start, start];
  for (const c of rest) {
    if (sn === 0 || !isHash(c)) return false;
    if (isOdd(fn) || fn === sn) {
      fr = hashNode(c, fr);
      sr = hashNode(c, sr);
      while (!isOdd(fn) && fn !== 0) [fn, sn] = [half(fn), half(sn)];
    } else {
      sr = hashNode(sr, c);
    }
    [fn, sn] = [half(fn), half(sn)];
  }
  return sn === 0 && isEqual(fr, firstRoot) && isEqual(sr, secondRoot);
}

const isCount = (value: number) => Number.isSafeInteger(value) && value >= 0;
const isHash = (bytes: Uint8Array) => bytes.length === hashBytes;
const areHashes = (all: readonly Uint8Array[]) => all.every(isHash);
const isEqual = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;
/** Bit operators would cut to 32 bits. */
const isOdd = (value: number) => value % 2 === 1;
const half = (value: number) => Math.floor(value / 2);
