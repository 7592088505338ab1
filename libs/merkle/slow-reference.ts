/**
 * Trees and proofs written down as RFC 9162, 2.1, defines them, for tests to compare with: no tiles, no edge, nothing kept but
 * the roots of ranges that were computed already.
 */
import { hash } from "node:crypto";

import { hashLeaf } from "./hash.ts";

/**
 * Roots and proofs over the first leaves, as many as asked for. Ranges to which `keyOf` gives the same key hold the same leaves:
 * that makes trees of many equal leaves affordable.
 */
export function createReference(
  leafAt: (index: number) => Uint8Array,
  keyOf = (start: number, end: number) => `${start}:${end}`,
) {
  const known = new Map<string, Uint8Array>();

  /** MTH(D[start:end]). */
  function rootOfRange(start: number, end: number): Uint8Array {
    const key = keyOf(start, end);
    const root = known.get(key) ?? computeRoot(start, end);
    known.set(key, root);
    return root;
  }

  function computeRoot(start: number, end: number): Uint8Array {
    if (end === start) return sha256();
    if (end - start === 1) return sha256(Uint8Array.of(0), leafAt(start));
    const k = splitOf(end - start);
    return sha256(Uint8Array.of(1), rootOfRange(start, start + k), rootOfRange(start + k, end));
  }

  /** PATH(m, D[start:end]). */
  function path(m: number, start: number, end: number): Uint8Array[] {
    const n = end - start;
    if (n === 1) return [];
    const k = splitOf(n);
    return m < k
      ? [...path(m, start, start + k), rootOfRange(start + k, end)]
      : [...path(m - k, start + k, end), rootOfRange(start, start + k)];
  }

  /** SUBPROOF(m, D[start:end], b). */
  function subproof(m: number, start: number, end: number, b: boolean): Uint8Array[] {
    const n = end - start;
    if (m === n) return b ? [] : [rootOfRange(start, end)];
    const k = splitOf(n);
    return m <= k
      ? [...subproof(m, start, start + k, b), rootOfRange(start + k, end)]
      : [...subproof(m - k, start + k, end, false), rootOfRange(start, start + k)];
  }

  return {
    root: (size: number) => rootOfRange(0, size),
    inclusion: (index: number, size: number) => path(index, 0, size),
    consistency: (first: number, second: number) => subproof(first, 0, second, true),
    rootOfRange,
  };
}

/** All different. */
export const leafAt = (index: number): Uint8Array => Buffer.from(`leaf ${index}`);

export function leafHashes(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, index) => hashLeaf(leafAt(index)));
}

/** k of the RFC: the largest power of two below n. */
function splitOf(n: number): number {
  return n <= 2 ? 1 : 2 * splitOf(Math.ceil(n / 2));
}

function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(hash("sha256", Buffer.concat(parts), "buffer"));
}
