import type { Pool } from "pg";
import { Fault } from "#libs/fault/fault.ts";
import { makePageToken, readPageToken } from "#libs/page-token/page-token.ts";
import type { Access, AccessFilter } from "../domain/access.ts";
import type { Reason } from "../domain/reason.ts";
import { type AccessRow, lastAccessId, listAccesses, toAccess } from "../store/access-log.ts";
import type { AccessLog, Auditor } from "./access-log.ts";
import { toCanonicalJson } from "./describe-filter.ts";
import { type PageRequest, readRows } from "./read-rows.ts";

export interface AccessPage {
  readonly accesses: readonly Access[];
  /** Empty: this was the last page. */
  readonly nextToken: string;
}

/**
 * Reads the access log, newest first. That is an access itself, in the log before the page is given, and so in none of the pages
 * that follow from it. Fault PAGE_TOKEN_INVALID.
 */
export type ReadAccesses = (auditor: Auditor, filter: AccessFilter, page: PageRequest) => Promise<AccessPage>;

export function createReadAccesses(pool: Pool, accessLog: AccessLog): ReadAccesses {
  return async (auditor, filter, page) => {
    const { tenantId } = auditor;
    const described = describe(filter);
    const scope = ["accesses", tenantId, described];
    const statement = listAccesses(tenantId, filter, positionOf(scope, page.token), page.size + 1);
    const { rows }: { readonly rows: AccessRow[] } = await readRows(pool, auditor, statement);
    const accesses = rows.slice(0, page.size).map(toAccess);
    const query = { method: "ListAccesses", filter: described } as const;
    await accessLog.write(auditor, query, { outcome: "OK", givenCount: accesses.length });
    const last = accesses.at(-1);
    const more = last !== undefined && rows.length > accesses.length;
    return { accesses, nextToken: more ? makePageToken(scope, last.accessId) : "" };
  };
}

function describe({ principalId, method, from, before }: AccessFilter): string {
  return toCanonicalJson({ principalId, method, from: from?.toISOString(), before: before?.toISOString() });
}

const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Tokens can be forged: the position has to be of the form that the query takes. */
function positionOf(scope: readonly string[], token: string): string {
  if (token === "") return lastAccessId;
  const position = readPageToken(scope, token);
  if (position === undefined || !uuidPattern.test(position)) throw new Fault<Reason>("PAGE_TOKEN_INVALID");
  return position;
}
