import { openSuperuser } from "./superuser.ts";

/**
 * A digest of every row of every table, by table: equal before and after means that nothing was written anywhere. Read as the
 * superuser, whom row-level security does not hide anything from.
 */
export async function rowDigests(superuserUrl: string): Promise<Record<string, string>> {
  await using client = await openSuperuser(superuserUrl);
  const tables = await client.query<{ name: string }>(
    `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`,
  );
  const digests: Record<string, string> = {};
  for (const { name } of tables.rows) {
    const { rows } = await client.query<{ digest: string }>(
      `SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text)), '') AS digest FROM ${name} t`,
    );
    digests[name] = rows[0]?.digest ?? "";
  }
  return digests;
}
