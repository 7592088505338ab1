import type { BucketRule } from "./token-bucket.ts";

/** Who is counted, from a verified token. */
export interface Caller {
  /** 1 to 63 of a-z, 0-9 and -; `undefined`: the token belongs to no tenant. */
  readonly tenantId: string | undefined;
  /** At least one character. */
  readonly principalId: string;
}

/** The rules of the two buckets of a call. */
export interface CallRules {
  /** Of the tenant that the token belongs to, all its principals together. */
  readonly tenant: BucketRule;
  /** Of the principal within it. */
  readonly principal: BucketRule;
}

/** A caller as one text. No two have the same: a tenant's id has no slash. */
export function keyOf({ tenantId = "", principalId }: Caller): string {
  return `${tenantId}/${principalId}`;
}

export function callerOf(key: string): Caller {
  const slash = key.indexOf("/");
  return { tenantId: key.slice(0, slash) || undefined, principalId: key.slice(slash + 1) };
}
