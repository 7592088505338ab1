import { setTimeout as pause } from "node:timers/promises";
import type pg from "pg";
import { Fault } from "#libs/fault/fault.ts";
import type { Statement } from "#libs/pg/statement.ts";
import { runForTenant } from "#libs/pg/tenant-transaction.ts";
import { reportDatabaseFaults } from "#libs/service/report-database-faults.ts";
import type { Reason } from "../domain/reason.ts";
import { findAppliedRequest, toAppliedRequest, type AppliedRequest } from "../store/answers.ts";
import { isLostRace } from "../store/lost-race.ts";
import type { NewEntry, WriteEnd, WriteMetrics } from "./write-metrics.ts";
import type { Actor, EventFacts } from "./event-facts.ts";

/*
 * The write path: how a request takes effect exactly once. Two round trips to PostgreSQL.
 *
 *   1 load      what the request is about, then what this principal's         nothing is held; dying here loses nothing
 *               request id did before
 *   2 replay    it took effect before: give the recorded answer back           same bytes, no effect
 *   3 decide    the pure rules accept, or refuse                               a refusal is not recorded
 *   4 commit    one statement: state, entry, outbox row, content, answer       all or nothing; the version is compared
 *   5 again     somebody was faster: back to 1, at most `attemptsMax` times    a duplicate finds the answer at 2
 *
 * There is no lease and no "in progress" state. A duplicate sent at the same time waits in step 4 for the row, loses, and
 * replays. If the connection dies during the commit nobody knows here whether it happened: the caller is told just that
 * (OUTCOME_UNKNOWN), and a retry with the same request id finds the truth at step 1.
 */

/** How often a write that named no version looks again after losing a race, the first time included. */
const attemptsMax = 5;
/** The longest pause before looking again: rivals that lost together do not come back together. */
const rivalPauseMs = 20;
/** How long an answer is replayed. */
export const answerKeptMs = 7 * 24 * 60 * 60 * 1000;

/** What every write carries. */
export interface WriteRequest {
  readonly tenantId: string;
  readonly actor: Actor;
  readonly requestId: string;
  /** SHA-256 of method and message: tells a retry from another request with a used id. */
  readonly requestHash: Uint8Array;
  readonly correlationId: string;
  readonly traceparent: string;
  /** What is left of the caller's time; throws when nothing is. */
  readonly remainingMs: () => number;
  /** Aborted when the caller has gone: who waits for a connection then waits no longer. What was sent goes on. */
  readonly signal: AbortSignal;
}

export interface WriteResult {
  readonly answer: Uint8Array;
  /** True when the request took effect earlier, and this is what it was answered with then. */
  readonly replayed: boolean;
}

export interface WriteDependencies {
  readonly pool: pg.Pool;
  readonly now: () => Date;
  readonly encodeEvent: (facts: EventFacts) => Uint8Array;
  /** Told after each commit, so that the relay need not wait for its poll. */
  readonly onCommitted: () => void;
  readonly metrics: WriteMetrics;
}

/** What one attempt would write. */
export interface Attempt {
  /** The one data-modifying statement; it writes one row or, when somebody was faster, none. */
  readonly statement: Statement;
  readonly answer: Uint8Array;
  /** Absent where it adds nothing to the record. */
  readonly entry?: NewEntry;
  /** What the statement goes on from; 0: nothing was there. */
  readonly fromVersion: number;
  /** For a statement that touches one row or hundreds. */
  readonly planEachTime?: boolean;
}

/**
 * Applies a request: `prepare` gets what `load` found, judges it, and throws the refusal as a Fault. Faults besides:
 * REQUEST_ID_REUSED, REQUEST_ALREADY_APPLIED, VERSION_MISMATCH after too many lost races, and what `reportDatabaseFaults`
 * makes of outages.
 */
export async function applyOnce(
  { pool, now, onCommitted, metrics }: WriteDependencies,
  request: WriteRequest,
  load: Statement,
  prepare: (found: pg.QueryResult, at: Date) => Attempt,
): Promise<WriteResult> {
  for (let attempt = 1; ; attempt++) {
    const { found, applied } = await look(pool, request, load, now());
    if (applied) return { answer: replay(request, applied), replayed: true };
    const prepared = countConflicts(metrics, () => prepare(found, now()));
    if (await commit(pool, metrics, request, prepared)) {
      onCommitted();
      return { answer: prepared.answer, replayed: false };
    }
    metrics.conflict();
    if (attempt === attemptsMax) {
      throw new Fault<Reason>("VERSION_MISMATCH", { current_version: String(prepared.fromVersion) });
    }
    await pause(Math.random() * rivalPauseMs);
  }
}

async function look(
  pool: pg.Pool,
  request: WriteRequest,
  load: Statement,
  at: Date,
): Promise<{ found: pg.QueryResult; applied: AppliedRequest | undefined }> {
  const { tenantId, actor, requestId, signal } = request;
  const [found, before] = await reportDatabaseFaults(() =>
    runForTenant(pool, { tenantId, timeoutMs: request.remainingMs(), signal, readOnly: true }, [
      load,
      findAppliedRequest(tenantId, actor.id, requestId, at),
    ]),
  );
  if (!found) throw new Error(`${load.name}: no result`);
  const row = before?.rows[0];
  return { found, applied: row && toAppliedRequest(row) };
}

function replay(request: WriteRequest, applied: AppliedRequest): Uint8Array {
  if (applied.answer === undefined) {
    const { entry } = applied;
    throw new Fault<Reason>(
      "REQUEST_ALREADY_APPLIED",
      entry && { case_id: entry.caseId, version: String(entry.version) },
    );
  }
  if (!Buffer.from(applied.answer.requestHash).equals(request.requestHash)) {
    throw new Fault<Reason>("REQUEST_ID_REUSED", { request_id: request.requestId });
  }
  return applied.answer.bytes;
}

/** Commits; false when somebody was faster and nothing was written. */
async function commit(
  pool: pg.Pool,
  metrics: WriteMetrics,
  request: WriteRequest,
  { statement, entry, planEachTime = false }: Attempt,
): Promise<boolean> {
  const end = (how: WriteEnd): boolean => {
    if (entry) metrics.ended(entry, how);
    return how === "committed";
  };
  try {
    const { tenantId, signal } = request;
    const options = { tenantId, timeoutMs: request.remainingMs(), signal, planEachTime };
    const [saved] = await reportDatabaseFaults(() => runForTenant(pool, options, [statement]));
    return end(saved?.rowCount === 1 ? "committed" : "raced");
  } catch (error) {
    if (isLostRace(error)) return end("raced");
    end(error instanceof Fault && error.reason === "OUTCOME_UNKNOWN" ? "unknown" : "failed");
    throw error;
  }
}

/** The rules judge the version that a caller names. */
function countConflicts<T>(metrics: WriteMetrics, judge: () => T): T {
  try {
    return judge();
  } catch (error) {
    if (error instanceof Fault && error.reason === "VERSION_MISMATCH") metrics.conflict();
    throw error;
  }
}
