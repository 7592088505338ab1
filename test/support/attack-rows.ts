import type pg from "pg";
import { openSuperuser } from "./superuser.ts";

/**
 * A digest of a tenant's rows of every table that has any say about tenants, by table, read as the superuser: equal before
 * and after means that nothing of the tenant's was written, changed or removed.
 */
export async function tenantDigests(superuserUrl: string, tenant: string): Promise<Record<string, string>> {
  await using client = await openSuperuser(superuserUrl);
  return await digestsWithin(client, tenant);
}

/** The same on a superuser's connection that is at hand, and within its transaction. */
export async function digestsWithin(client: pg.Client, tenant: string): Promise<Record<string, string>> {
  const tables = await client.query<{ name: string }>(
    `SELECT attrelid::regclass::text AS name FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
      WHERE attname = 'tenant_id' AND relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace ORDER BY 1`,
  );
  const each = tables.rows.map(
    ({ name }) =>
      `SELECT '${name}' AS name, count(*) || ' ' || coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text)), '') AS digest
         FROM ${name} t WHERE tenant_id = $1`,
  );
  const { rows } = await client.query<{ name: string; digest: string }>(each.join(" UNION ALL "), [tenant]);
  return Object.fromEntries(rows.map(({ name, digest }) => [name, digest]));
}
