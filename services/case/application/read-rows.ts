import type pg from "pg";
import type { Statement } from "#libs/pg/statement.ts";
import { runForTenant } from "#libs/pg/tenant-transaction.ts";
import { reportDatabaseFaults } from "#libs/service/report-database-faults.ts";

/** Who reads, and how long they may. */
export interface Reader {
  readonly tenantId: string;
  readonly remainingMs: () => number;
  /** Aborted when the caller has gone: who waits for a connection then waits no longer. */
  readonly signal: AbortSignal;
}

/** Runs one statement that reads, for the reader's tenant. Faults: what `reportDatabaseFaults` makes of outages. */
export async function readRows(pool: pg.Pool, reader: Reader, statement: Statement): Promise<pg.QueryResult> {
  const { tenantId, signal } = reader;
  const options = { tenantId, timeoutMs: reader.remainingMs(), signal, readOnly: true, planEachTime: true };
  const [result] = await reportDatabaseFaults(() => runForTenant(pool, options, [statement]));
  if (!result) throw new Error(`${statement.name}: no result`);
  return result;
}
