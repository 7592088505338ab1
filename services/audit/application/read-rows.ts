import type { Pool, QueryResult } from "pg";
import type { Statement } from "#libs/pg/statement.ts";
import { runForTenant } from "#libs/pg/tenant-transaction.ts";
import { reportDatabaseFaults } from "#libs/service/report-database-faults.ts";

export interface Reader {
  readonly tenantId: string;
  /** What is left of the caller's time; throws when nothing is. */
  readonly remainingMs: () => number;
  /** Aborted when the caller has gone: who waits for a connection then waits no longer. */
  readonly signal: AbortSignal;
}

export interface PageRequest {
  readonly size: number;
  /** Empty: from the start. */
  readonly token: string;
}

/**
 * Runs one statement that reads, for the reader's tenant; planned anew each time, since what a listing asks for may fit one
 * row or all of them. Faults: what `reportDatabaseFaults` makes of outages.
 */
export async function readRows(pool: Pool, reader: Reader, statement: Statement): Promise<QueryResult> {
  const { tenantId, signal } = reader;
  const options = { tenantId, timeoutMs: reader.remainingMs(), signal, readOnly: true, planEachTime: true };
  const [result] = await reportDatabaseFaults(() => runForTenant(pool, options, [statement]));
  if (!result) throw new Error(`${statement.name}: no result`);
  return result;
}
