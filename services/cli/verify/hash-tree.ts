import { appendLeaves, emptyTree, rootOf } from "#libs/merkle/tree.ts";

/** The tree over the entries of a log, as they come. */
export interface GrowingTree {
  add(leafHash: Uint8Array): void;
  readonly size: number;
  root(): Uint8Array;
  /** The root that the tree had at the watched size; `undefined` before. */
  readonly watchedRoot: Uint8Array | undefined;
}

/** Leaves are taken together: each append copies the edge. */
const batchMax = 256;

export function growTree(watchedSize: number | undefined): GrowingTree {
  let tree = emptyTree;
  let waiting: Uint8Array[] = [];
  const catchUp = (): void => {
    tree = appendLeaves(tree, waiting);
    waiting = [];
  };
  let watchedRoot = watchedSize === 0 ? rootOf(emptyTree) : undefined;
  return {
    add(leafHash) {
      waiting.push(leafHash);
      const watched = tree.size + waiting.length === watchedSize;
      if (watched || waiting.length === batchMax) catchUp();
      if (watched) watchedRoot = rootOf(tree);
    },
    get size() {
      return tree.size + waiting.length;
    },
    root() {
      catchUp();
      return rootOf(tree);
    },
    get watchedRoot() {
      return watchedRoot;
    },
  };
}

export function isSame(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
