import type { Client } from "pg";

/** Events a tenant: one has most of them, and tiles of level 0 beyond the first of level 1. */
export const events = { large: 80_000, middle: 15_000, small: 4_700, tiny: 300 } as const;
export type TenantName = keyof typeof events;
export const tenants = Object.keys(events) as TenantName[];

/**
 * Fills an audit database with 100,000 events of four tenants, with full tiles, and a checkpoint for every forty events up to
 * the last but ten. Trees and tiles have the right form and not the right hashes: it is for looking at plans.
 */
export async function fillWithManyEvents(superuser: Client): Promise<void> {
  for (const [tenant, count] of Object.entries(events)) {
    await superuser.query(
      `INSERT INTO events (tenant_id, leaf_index, event_id, source, type, subject, subject_sequence, actor_id,
                           occurred_at, recorded_at, received_at, digest, bytes)
       SELECT $1, i, ('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, 'a/b', 'type-' || i % 7, 'subject-' || i / 8,
              i % 8 + 1, 'actor-' || i % 50, now(), now(), now(), sha256(body), body
         FROM generate_series(0, $2::bigint - 1) AS i, convert_to(repeat($1 || i, 40), 'UTF8') AS body`,
      [tenant, count],
    );
    await superuser.query(
      `INSERT INTO logs (tenant_id, size, tree_size, tree_edge)
       SELECT $1, $2, $2, decode(repeat('00', (32 * bit_count($2::bigint::bit(64)))::int), 'hex')`,
      [tenant, count],
    );
    await superuser.query(
      `INSERT INTO tiles (tenant_id, level, tile_index, hashes, root)
       SELECT $1, level, i, decode(repeat('00', 8192), 'hex'), sha256('')
         FROM generate_series(0, 1) AS level, generate_series(0, $2::bigint / (256 ^ (level + 1))::bigint - 1) AS i`,
      [tenant, count],
    );
    await superuser.query(
      `INSERT INTO checkpoints (tenant_id, tree_size, note, sealed_at)
       SELECT $1, i, repeat('n', 250), now() FROM generate_series(40, $2::bigint - 10, 40) AS i`,
      [tenant, count],
    );
    await superuser.query("INSERT INTO verifier_keys VALUES ($1, 'key', now())", [tenant]);
  }
  await superuser.query("ANALYZE");
}
