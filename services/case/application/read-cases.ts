import type pg from "pg";
import { Fault } from "#libs/fault/fault.ts";
import { makePageToken, readPageToken } from "#libs/page-token/page-token.ts";
import type { Statement } from "#libs/pg/statement.ts";
import { runForTenant } from "#libs/pg/tenant-transaction.ts";
import type { Case } from "../domain/case.ts";
import type { Reason } from "../domain/reason.ts";
import { listCases, loadCase, toStoredCase, type CaseFilter } from "../store/cases.ts";
import { reportDatabaseFaults } from "../store/database-faults.ts";
import { listEntries, type EntryRow } from "../store/history.ts";

export interface Reader {
  readonly tenantId: string;
  readonly remainingMs: () => number;
}

export interface PageRequest {
  readonly size: number;
  /** Empty: from the start. */
  readonly token: string;
}

export interface Page<T> {
  readonly items: readonly T[];
  /** Empty: this was the last page. */
  readonly nextToken: string;
}

/** An entry of a case's history: the stored event, with what stands beside it. */
export interface HistoryItem {
  readonly version: number;
  readonly action: string;
  readonly event: Uint8Array;
  readonly eventDigest: Uint8Array;
}

export interface ReadCases {
  /** One case. Fault CASE_NOT_FOUND. */
  get(reader: Reader, caseId: string): Promise<Case>;
  /** Cases, newest first. Fault PAGE_TOKEN_INVALID. */
  list(reader: Reader, filter: CaseFilter, page: PageRequest): Promise<Page<Case>>;
  /** A case's entries, oldest first. Faults CASE_NOT_FOUND, PAGE_TOKEN_INVALID. */
  history(reader: Reader, caseId: string, page: PageRequest): Promise<Page<HistoryItem>>;
}

export function createReadCases(pool: pg.Pool): ReadCases {
  const read = async (reader: Reader, statement: Statement): Promise<pg.QueryResult> => {
    const [result] = await reportDatabaseFaults(() =>
      runForTenant(pool, { tenantId: reader.tenantId, timeoutMs: reader.remainingMs(), readOnly: true }, [
        statement,
      ]),
    );
    if (!result) throw new Error(`${statement.name}: no result`);
    return result;
  };
  return {
    async get(reader, caseId) {
      const { rows } = await read(reader, loadCase(reader.tenantId, caseId));
      if (rows.length === 0) throw new Fault<Reason>("CASE_NOT_FOUND", { case_id: caseId });
      return toStoredCase(rows[0]).case;
    },

    async list(reader, filter, page) {
      const scope = [reader.tenantId, "cases", JSON.stringify(filter)];
      const before = position(scope, page.token);
      const { rows } = await read(reader, listCases(reader.tenantId, filter, before, page.size + 1));
      const cases = rows.map((row) => toStoredCase(row).case);
      return cut(scope, cases, page.size, (last) => last.id);
    },

    async history(reader, caseId, page) {
      const scope = [reader.tenantId, "history", caseId];
      const after = Number(position(scope, page.token) ?? 0);
      const { rows } = await read(reader, listEntries(reader.tenantId, caseId, after, page.size + 1));
      if (rows.length === 0 && after === 0) throw new Fault<Reason>("CASE_NOT_FOUND", { case_id: caseId });
      const entries = rows.map((row: EntryRow) => ({
        version: row.version,
        action: row.action,
        event: row.event,
        eventDigest: row.event_digest,
      }));
      return cut(scope, entries, page.size, (last) => String(last.version));
    },
  };
}

function position(scope: readonly string[], token: string): string | undefined {
  if (token === "") return undefined;
  const found = readPageToken(scope, token);
  if (found === undefined) throw new Fault<Reason>("PAGE_TOKEN_INVALID");
  return found;
}

/** One row more than the page was read: it only tells that there is a next page. */
function cut<T>(
  scope: readonly string[],
  found: readonly T[],
  size: number,
  key: (last: T) => string,
): Page<T> {
  const items = found.slice(0, size);
  const last = items.at(-1);
  const more = found.length > size && last !== undefined;
  return { items, nextToken: more ? makePageToken(scope, key(last)) : "" };
}
