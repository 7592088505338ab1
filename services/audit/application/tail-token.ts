import { makePageToken, readPageToken } from "#libs/page-token/page-token.ts";
import { identityPattern } from "#libs/pg/database-identity.ts";

/** Where a tail goes on. */
export interface TailPlace {
  /** Of the database that the log is in. */
  readonly identity: string;
  /** How many events of the log have been passed: the leaf index of the next one. */
  readonly passed: bigint;
  /** Digest of the last event passed, in hex; empty where there is none. */
  readonly digest: string;
}

/** Counts end before a bigint (2^63) does: tokens can be forged. */
const placePattern = new RegExp(`^(${identityPattern})/([0-9]{1,18})/((?:[0-9a-f]{64})?)$`);

/** Makes the token of a place. It serves this tenant and this filter alone. */
export function makeResumeToken(tenantId: string, filter: string, place: TailPlace): string {
  const { identity, passed, digest } = place;
  return makePageToken(scopeOf(tenantId, filter), [identity, passed, digest].join("/"));
}

/** Reads a token; `undefined` when it is none of ours, was changed, or is of another tenant or filter. */
export function readResumeToken(tenantId: string, filter: string, token: string): TailPlace | undefined {
  const parts = placePattern.exec(readPageToken(scopeOf(tenantId, filter), token) ?? "");
  if (!parts) return undefined;
  const [, identity = "", count = "", digest = ""] = parts;
  const passed = BigInt(count);
  return (passed === 0n) === (digest === "") ? { identity, passed, digest } : undefined;
}

function scopeOf(tenantId: string, filter: string): readonly string[] {
  return ["tail", tenantId, filter];
}
