import type { Client } from "pg";

/** How many cases each tenant has: one has nearly all, many have few. */
const sizes = { giant: 80_000, large: 15_000, middle: 4_000, small: 900, tiny: 100 } as const;
export type TenantName = keyof typeof sizes;
export const tenants = Object.keys(sizes) as TenantName[];

/**
 * Fills a case database with 100,000 cases of tenants of unequal sizes, or as many as are asked for, as the superuser and past the foreign keys, which would
 * take minutes. Of each tenant's cases 1 in 100 is submitted, 1 in 1,000 is under review by `reviewer-1`, the others are closed
 * or drafts; ten creators, two types, a reference a case; each changed a second after the one before it. One entry in ten waits
 * for its delivery, one in ten is a dead letter.
 */
export async function fillWithManyCases(
  superuser: Client,
  countByTenant: Readonly<Record<string, number>> = sizes,
): Promise<void> {
  await superuser.query("BEGIN");
  await superuser.query("SET LOCAL session_replication_role = replica");
  for (const [tenant, count] of Object.entries(countByTenant)) {
    await superuser.query(casesOf, [tenant, count]);
  }
  await superuser.query(entries);
  await superuser.query(contents);
  await superuser.query(answers);
  await superuser.query(waiting);
  await superuser.query(dead);
  await superuser.query("COMMIT");
  await superuser.query("VACUUM ANALYZE");
}

const casesOf = `
  INSERT INTO cases (tenant_id, case_id, case_type, external_reference, state, version, content_version, content_commitment,
                     creator_id, submitter_id, submitted_version, submit_action, assigned_reviewer_id, review_started_by_id,
                     review_version, review_round, policy_version, approvals_required, created_at, updated_at)
  SELECT $1, ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, CASE WHEN n % 10 = 0 THEN 'rare' ELSE 'permit' END,
         'ref-' || n, state, CASE WHEN state = 'draft' THEN 1 ELSE 2 END, 1,
         sha256('x'), 'creator-' || n % 10, CASE WHEN state <> 'draft' THEN 'creator-0' END,
         CASE WHEN state <> 'draft' THEN 2 END, 'submit',
         reviewer, reviewer,
         CASE WHEN state IN ('under_review', 'closed') THEN 2 END, 1, 0, 1,
         timestamptz '2026-01-01' + n * interval '1 s', timestamptz '2026-01-01' + n * interval '1 s'
    FROM generate_series(1, $2::integer) n,
         LATERAL (SELECT CASE WHEN n % 1000 = 0 THEN 'under_review' WHEN n % 100 = 1 THEN 'submitted'
                              WHEN n % 4 = 0 THEN 'draft' ELSE 'closed' END AS state) s,
         LATERAL (SELECT CASE state WHEN 'under_review' THEN 'reviewer-1' WHEN 'closed' THEN 'reviewer-' || 2 + n % 20 END AS reviewer) r`;

const entries = `
  INSERT INTO audit_entries (tenant_id, case_id, version, action, from_state, to_state, previous_version, principal_id, request_id,
                             event_id, event, event_digest, recorded_at)
  SELECT tenant_id, case_id, v, CASE v WHEN 1 THEN 'create' ELSE 'submit' END, CASE v WHEN 2 THEN 'draft' END,
         CASE v WHEN 1 THEN 'draft' ELSE 'submitted' END, nullif(v - 1, 0), creator_id, gen_random_uuid(), gen_random_uuid(),
         'event', sha256('event'), updated_at
    FROM cases, LATERAL generate_series(1, version) v`;

const contents = `
  INSERT INTO case_contents (tenant_id, case_id, content_version, salt, content, commitment)
  SELECT tenant_id, case_id, 1, sha256('salt'), content, sha256(sha256('salt') || content)
    FROM cases, convert_to('{"title":"t","summary":"s","people":[]}', 'UTF8') content`;

const answers = `
  INSERT INTO recorded_answers (tenant_id, principal_id, request_id, request_hash, answer, case_id, version, expires_at)
  SELECT tenant_id, principal_id, request_id, sha256('request'), 'answer', case_id, version, recorded_at + interval '7 d'
    FROM audit_entries`;

const waiting = `
  INSERT INTO outbox (tenant_id, event_id, lane, case_id, version, traceparent)
  SELECT tenant_id, event_id, get_byte(sha256(tenant_id::bytea), 0) % 64, case_id, version, ''
    FROM (SELECT *, row_number() OVER () AS n FROM audit_entries) e WHERE n % 10 = 0`;

const dead = `
  INSERT INTO dead_letters (tenant_id, event_id, case_id, version, reason, detail, dead_at)
  SELECT tenant_id, event_id, case_id, version, 'REASON', '', recorded_at
    FROM (SELECT *, row_number() OVER () AS n FROM audit_entries) e WHERE n % 10 = 1`;
