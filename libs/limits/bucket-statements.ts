import type { Statement } from "#libs/pg/statement.ts";
import type { BucketTimes } from "./token-bucket.ts";

/** Rows that one statement removes. */
export const removedMax = 1_000;

export interface TakenRow {
  /** Whether the principal's own bucket had a token. */
  readonly own_taken: boolean;
  /** Whether the tenant's had one too: only then the call may be made. */
  readonly shared_taken: boolean;
  readonly own_full_in_us: number;
  readonly shared_full_in_us: number;
}

/** Locks both rows that it changes. One row comes back; what it says of times is as old as the statement's beginning. */
export function takeTokens(
  tenantId: string,
  principalId: string,
  own: BucketTimes,
  shared: BucketTimes,
): Statement {
  return {
    name: "take_tokens",
    text: `
      WITH own AS (
        INSERT INTO rate_buckets AS bucket (tenant_id, principal_id, full_at)
        VALUES ($1, $2, now() + $3::float8 * interval '1 microsecond')
        ON CONFLICT (tenant_id, principal_id) DO UPDATE
          SET full_at = greatest(bucket.full_at, now()) + $3::float8 * interval '1 microsecond'
        WHERE greatest(bucket.full_at, now()) + $3::float8 * interval '1 microsecond' <= now() + $4::float8 * interval '1 microsecond'
        RETURNING 1
      ), shared AS (
        INSERT INTO rate_buckets AS bucket (tenant_id, principal_id, full_at)
        SELECT $1, '', now() + $5::float8 * interval '1 microsecond' FROM own
        ON CONFLICT (tenant_id, principal_id) DO UPDATE
          SET full_at = greatest(bucket.full_at, now()) + $5::float8 * interval '1 microsecond'
        WHERE greatest(bucket.full_at, now()) + $5::float8 * interval '1 microsecond' <= now() + $6::float8 * interval '1 microsecond'
        RETURNING 1
      ), before AS (
        SELECT principal_id, extract(epoch FROM full_at - now())::float8 * 1000000 AS full_in_us
          FROM rate_buckets WHERE tenant_id = $1 AND principal_id IN ($2, '')
      )
      SELECT EXISTS (SELECT FROM own) AS own_taken,
             EXISTS (SELECT FROM shared) AS shared_taken,
             coalesce((SELECT full_in_us FROM before WHERE principal_id = $2), 0) AS own_full_in_us,
             coalesce((SELECT full_in_us FROM before WHERE principal_id = ''), 0) AS shared_full_in_us`,
    values: [tenantId, principalId, own.tokenUs, own.fillUs, shared.tokenUs, shared.fillUs],
  };
}

/** Waits for no lock: what is in use is not to be removed. */
export function removeFull(tenantId: string): Statement {
  return {
    name: "remove_full_buckets",
    text: `
      DELETE FROM rate_buckets
       WHERE tenant_id = $1 AND principal_id IN (
         SELECT principal_id FROM rate_buckets WHERE tenant_id = $1 AND full_at < now()
          LIMIT $2 FOR UPDATE SKIP LOCKED)`,
    values: [tenantId, removedMax],
  };
}

/** A row, when the tenant has any. */
export function findBucket(tenantId: string): Statement {
  return {
    name: "find_bucket",
    text: "SELECT FROM rate_buckets WHERE tenant_id = $1 LIMIT 1",
    values: [tenantId],
  };
}
