import type { Pool, QueryResult } from "pg";
import type { Statement } from "#libs/pg/statement.ts";
import type { AppendPlan, Arrival, LogState } from "../domain/append.ts";
import { insertEvents, readRecorded, toRecorded, type NewEvent } from "./events.ts";
import { keyLookups } from "./key-lookups.ts";
import { runLocked, type LockedTransactionOptions } from "./locked-transaction.ts";
import { createLog, lockLog, saveLogSize, type LogRow } from "./logs.ts";
import { readSubjectHeads, saveSubjectHeads, toSubjectHead } from "./subject-heads.ts";

/** An event that may be appended: what is judged of it, and what is stored. */
export type Candidate = Arrival & Omit<NewEvent, "leafIndex">;

/**
 * Appends what `plan` makes of one tenant's candidates, in one transaction, and returns the plan once it is committed.
 *
 * `plan` is asked once, under the lock of the tenant's log, and with what the log holds then. When it appends nothing,
 * nothing is written.
 */
export async function appendEvents(
  pool: Pool,
  options: LockedTransactionOptions,
  candidates: readonly Candidate[],
  plan: (log: LogState) => AppendPlan<Candidate>,
): Promise<AppendPlan<Candidate>> {
  const { tenantId } = options;
  const reads = [
    createLog(tenantId),
    // Each of the next two sees what the lock's last holder committed, because it begins after the lock was had.
    lockLog(tenantId),
    readRecorded(
      tenantId,
      candidates.map(({ eventId }) => eventId),
    ),
    readSubjectHeads(tenantId, candidates),
  ];
  let planned: AppendPlan<Candidate> | undefined;
  await runLocked(pool, { ...options, settings: keyLookups }, reads, (results) => {
    planned = plan(toLogState(results));
    return writesOf(tenantId, planned);
  });
  if (!planned) throw new Error("unreachable: a locked transaction that ends well has decided");
  return planned;
}

function toLogState([, log, recorded, heads]: readonly QueryResult[]): LogState {
  const row: LogRow | undefined = log?.rows[0];
  if (!row || !recorded || !heads) throw new Error("the tenant's log cannot be read");
  return {
    size: BigInt(row.size),
    recorded: recorded.rows.map(toRecorded),
    heads: heads.rows.map(toSubjectHead),
  };
}

function writesOf(tenantId: string, { appended, heads, size }: AppendPlan<Candidate>): readonly Statement[] {
  if (appended.length === 0) return [];
  const events = appended.map(({ arrival: { event, bytes, digest }, leafIndex }) => ({
    event,
    bytes,
    digest,
    leafIndex,
  }));
  return [insertEvents(tenantId, events), saveSubjectHeads(tenantId, heads), saveLogSize(tenantId, size)];
}
