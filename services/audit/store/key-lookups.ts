/**
 * The settings of a transaction whose statements look many keys up, each in a subquery for one key:
 *
 *   … CROSS JOIN LATERAL (SELECT … WHERE tenant_id = $1 AND key BETWEEN wanted.key AND wanted.key ORDER BY key LIMIT 1)
 *
 * That form leaves one plan to choose. Every index leads with `tenant_id`, and until the first ANALYZE of a table
 * PostgreSQL takes each for as good as the right one; it then settles on a plan that reads the tenant's whole log, the
 * more readily for `key = ANY (…)`, and most of all on PostgreSQL 15. But only the right index has the rows in the
 * order asked for, and without sorting there is no other way to have it. (`=` would make the order mean nothing.)
 */
export const keyLookups = { enable_sort: "off" } as const;
