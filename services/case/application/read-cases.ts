import type pg from "pg";
import { Fault } from "#libs/fault/fault.ts";
import type { Statement } from "#libs/pg/statement.ts";
import type { Case } from "../domain/case.ts";
import type { Reason } from "../domain/reason.ts";
import { listCases, loadCase, toStoredCase, type CaseFilter } from "../store/cases.ts";
import { listEntries, type EntryRow } from "../store/history.ts";
import { cutPage, readPosition, uuidPattern, type Page, type PageRequest } from "./page.ts";
import { readRows, type Reader } from "./read-rows.ts";

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

/** A page stays well below the usual limit of a gRPC client, 4 MiB. */
const pageBytesMax = 3 * 1024 * 1024;
const versionPattern = /^[1-9][0-9]{0,8}$/;

export function createReadCases(pool: pg.Pool): ReadCases {
  const read = (reader: Reader, statement: Statement) => readRows(pool, reader, statement);
  return {
    async get(reader, caseId) {
      const { rows } = await read(reader, loadCase(reader.tenantId, caseId));
      if (rows.length === 0) throw new Fault<Reason>("CASE_NOT_FOUND", { case_id: caseId });
      return toStoredCase(rows[0]).case;
    },

    async list(reader, filter, page) {
      const scope = [reader.tenantId, "cases", JSON.stringify(filter)];
      const before = readPosition(scope, page.token, uuidPattern);
      const statement = listCases(reader.tenantId, filter, before, page.size + 1, pageBytesMax);
      const { rows } = await read(reader, statement);
      const cases = rows.map((row) => toStoredCase(row).case);
      const found = Number(rows[0]?.page_count ?? 0);
      return cutPage(scope, cases, found, page.size, (last) => last.id);
    },

    async history(reader, caseId, page) {
      const scope = [reader.tenantId, "history", caseId];
      const after = Number(readPosition(scope, page.token, versionPattern) ?? 0);
      const { rows } = await read(reader, listEntries(reader.tenantId, caseId, after, page.size + 1));
      if (rows.length === 0 && after === 0) throw new Fault<Reason>("CASE_NOT_FOUND", { case_id: caseId });
      const entries = rows.map((row: EntryRow) => ({
        version: row.version,
        action: row.action,
        event: row.event,
        eventDigest: row.event_digest,
      }));
      return cutPage(scope, entries, entries.length, page.size, (last) => String(last.version));
    },
  };
}
