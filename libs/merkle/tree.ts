import { emptyRoot, hashBytes, hashNode } from "./hash.ts";

/** A tree, remembered by what further appends need of it: at most 53 hashes, whatever its size. */
export interface Tree {
  /** Number of leaves, at most 2^53 - 1. */
  readonly size: number;
  /** Roots of the perfect subtrees the tree consists of, largest first: one for each set bit of `size`. */
  readonly edge: readonly Uint8Array[];
}

export const emptyTree: Tree = { size: 0, edge: [] };

/**
 * The tree with these leaves behind those it has; `tree` stays as it was. Takes one leaf at a time from `leafHashes` and
 * keeps none: a generator of millions needs no memory. Two hashes a leaf at most on average, `hashLeaf` included.
 *
 * Throws a RangeError on a leaf hash that is not 32 bytes, on an edge that does not go with the size, and beyond 2^53 - 1.
 */
export function appendLeaves(tree: Tree, leafHashes: Iterable<Uint8Array>): Tree {
  checkTree(tree);
  const edge = [...tree.edge];
  let size = tree.size;
  for (const leafHash of leafHashes) {
    if (leafHash.length !== hashBytes) throw new RangeError("a leaf hash has 32 bytes");
    if (size === Number.MAX_SAFE_INTEGER) throw new RangeError("a tree has at most 2^53 - 1 leaves");
    let root: Uint8Array = new Uint8Array(leafHash); // A copy: the caller may use the array again.
    // Adding one to `size` in binary: each set bit at its end is a subtree that gets its equal on the right.
    for (let rest = size; rest % 2 === 1; rest = (rest - 1) / 2) root = hashNode(edge.pop()!, root);
    edge.push(root);
    size += 1;
  }
  return { size, edge };
}

/**
 * Root hash of the whole tree, MTH of RFC 9162, 2.1.1; `emptyRoot` without leaves. Throws a RangeError on an edge that
 * does not go with the size.
 */
export function rootOf(tree: Tree): Uint8Array {
  checkTree(tree);
  return tree.edge.length === 0 ? emptyRoot : foldEdge(tree.edge);
}

/** Root over adjacent perfect subtrees, largest first; there is at least one. */
export function foldEdge(edge: readonly Uint8Array[]): Uint8Array {
  return edge.reduceRight((right, left) => hashNode(left, right));
}

/** Throws a RangeError unless `size` is a number of leaves that can be counted exactly. */
export function checkSize(size: number): void {
  if (!Number.isSafeInteger(size) || size < 0) throw new RangeError(`not the size of a tree: ${size}`);
}

/** Trees come from storage: one that lost a hash must not become another tree's root. */
function checkTree({ size, edge }: Tree): void {
  checkSize(size);
  let subtrees = 0;
  for (let rest = size; rest > 0; rest = Math.floor(rest / 2)) subtrees += rest % 2;
  if (edge.length !== subtrees) throw new RangeError(`${edge.length} subtrees for a tree of ${size} leaves`);
  if (edge.some((root) => root.length !== hashBytes)) throw new RangeError("a hash has 32 bytes");
}
