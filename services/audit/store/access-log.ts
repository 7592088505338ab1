import type { Statement } from "#libs/pg/statement.ts";
import type { Access, AccessFilter, AuditPrincipal } from "../domain/access.ts";

/** Appends one access. */
export function insertAccess(tenantId: string, access: Access): Statement {
  const { principal } = access;
  return {
    name: "insert_access",
    text: `
      INSERT INTO access_log (
        tenant_id, access_id, at, principal_id, principal_kind, on_behalf_of, roles, method, filter, outcome,
        given_count, first_leaf_index, last_leaf_index, begun_by
      )
      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
    values: [
      tenantId,
      access.accessId,
      access.at,
      principal.id,
      principal.kind,
      principal.onBehalfOf || null,
      principal.roles,
      access.method,
      access.filter,
      access.outcome,
      access.givenCount,
      access.firstLeafIndex ?? null,
      access.lastLeafIndex ?? null,
      access.begunBy ?? null,
    ],
  };
}

export interface AccessRow {
  readonly access_id: string;
  readonly at: Date;
  readonly principal_id: string;
  readonly principal_kind: AuditPrincipal["kind"];
  readonly on_behalf_of: string | null;
  readonly roles: readonly string[];
  readonly method: string;
  readonly filter: string;
  readonly outcome: string;
  /** Bigints in decimal. */
  readonly given_count: string;
  readonly first_leaf_index: string | null;
  readonly last_leaf_index: string | null;
  readonly begun_by: string | null;
}

/** After every UUID that is a version 7. */
export const lastAccessId = "ffffffff-ffff-ffff-ffff-ffffffffffff";

/** Reads up to `countMax` of the tenant's accesses with an id below `beforeId` that fit the filter, newest first. */
export function listAccesses(
  tenantId: string,
  { principalId, method, from, before }: AccessFilter,
  beforeId: string,
  countMax: number,
): Statement {
  const end = before === undefined ? beforeId : least(beforeId, firstIdOf(before));
  const given = [
    { letter: "p", sql: "principal_id =", wanted: principalId },
    { letter: "m", sql: "method =", wanted: method },
    { letter: "f", sql: "access_id >=", wanted: from && firstIdOf(from) },
  ].filter(({ wanted }) => wanted !== undefined);
  const where = given.map(({ sql }, at) => ` AND ${sql} $${at + 4}`).join("");
  return {
    // One text a set of conditions, so that each can use its own index.
    name: `list_accesses:${given.map(({ letter }) => letter).join("")}`,
    text: `
      SELECT access_id, at, principal_id, principal_kind, on_behalf_of, roles, method, filter, outcome,
             given_count, first_leaf_index, last_leaf_index, begun_by
        FROM access_log
       WHERE tenant_id = $1 AND access_id < $2${where}
       ORDER BY access_id DESC
       LIMIT $3`,
    values: [tenantId, end, countMax, ...given.map(({ wanted }) => wanted)],
  };
}

/** Ids sort by their millisecond: the least that one of that time or later can be. */
function firstIdOf(time: Date): string {
  const hex = Math.max(time.getTime(), 0).toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}

function least(one: string, other: string): string {
  return one < other ? one : other;
}

export function toAccess(row: AccessRow): Access {
  return {
    accessId: row.access_id,
    at: row.at,
    principal: {
      id: row.principal_id,
      kind: row.principal_kind,
      onBehalfOf: row.on_behalf_of ?? "",
      roles: row.roles,
    },
    method: row.method,
    filter: row.filter,
    outcome: row.outcome,
    givenCount: Number(row.given_count),
    firstLeafIndex: toIndex(row.first_leaf_index),
    lastLeafIndex: toIndex(row.last_leaf_index),
    begunBy: row.begun_by ?? undefined,
  };
}

function toIndex(text: string | null): bigint | undefined {
  return text === null ? undefined : BigInt(text);
}
