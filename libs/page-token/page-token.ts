import { createHash } from "node:crypto";

const digestBytes = 12;

/**
 * Makes the opaque token with which a caller asks for the page after `position`. It is bound to its scope (tenant and
 * query): elsewhere it is refused. It is not a secret and grants nothing: rows are still picked by the caller's tenant.
 */
export function makePageToken(scope: readonly string[], position: string): string {
  const positionBytes = Buffer.from(position, "utf8");
  return Buffer.concat([digestOf(scope, positionBytes), positionBytes]).toString("base64url");
}

/** Reads the position out of a token; `undefined` when it is not one of ours or belongs to another scope. */
export function readPageToken(scope: readonly string[], token: string): string | undefined {
  const bytes = Buffer.from(token, "base64url");
  if (bytes.toString("base64url") !== token || bytes.length <= digestBytes) return undefined;
  const position = bytes.subarray(digestBytes);
  if (!digestOf(scope, position).equals(bytes.subarray(0, digestBytes))) return undefined;
  return position.toString("utf8");
}

function digestOf(scope: readonly string[], position: Buffer): Buffer {
  const hash = createHash("sha256");
  for (const part of [...scope, ""]) hash.update(`${Buffer.byteLength(part)}:${part}`);
  return hash.update(position).digest().subarray(0, digestBytes);
}
