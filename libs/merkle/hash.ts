import { hash } from "node:crypto";

/** Length of every hash here: SHA-256. */
export const hashBytes = 32;

/** Root of the tree without leaves, SHA-256 of nothing (RFC 9162, 2.1.1). Shared: not to be written to. */
export const emptyRoot = sha256(new Uint8Array());

/** Hash of one leaf, SHA-256(0x00 ‖ data) (RFC 9162, 2.1.1). */
export function hashLeaf(data: Uint8Array): Uint8Array {
  const input = Buffer.allocUnsafe(1 + data.length);
  input[0] = 0x00;
  input.set(data, 1);
  return sha256(input);
}

// One for all calls: hashing is synchronous, and a tree has as many nodes as leaves.
const nodeInput = Buffer.alloc(1 + 2 * hashBytes, 0x01);

/**
 * Hash of two subtrees, SHA-256(0x01 ‖ left ‖ right) (RFC 9162, 2.1.1). The other first byte keeps a node from being
 * passed off as a leaf. Throws a RangeError unless both are 32 bytes.
 */
export function hashNode(left: Uint8Array, right: Uint8Array): Uint8Array {
  if (left.length !== hashBytes || right.length !== hashBytes) throw new RangeError("a hash has 32 bytes");
  nodeInput.set(left, 1);
  nodeInput.set(right, 1 + hashBytes);
  return sha256(nodeInput);
}

/** By way of a string: the Buffer that `hash` would make takes longer than the hashing (1.0 against 2.5 µs in all). */
function sha256(input: Uint8Array): Uint8Array {
  const text = hash("sha256", input, "binary");
  const bytes = new Uint8Array(hashBytes);
  for (let at = 0; at < hashBytes; at += 1) bytes[at] = text.charCodeAt(at);
  return bytes;
}
