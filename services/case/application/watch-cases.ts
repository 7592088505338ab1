import { setTimeout as pause } from "node:timers/promises";
import type pg from "pg";
import { createBell, type Bell } from "#libs/bell/bell.ts";
import { Fault } from "#libs/fault/fault.ts";
import type { Statement } from "#libs/pg/statement.ts";
import { runForTenant } from "#libs/pg/tenant-transaction.ts";
import { reportDatabaseFaults } from "#libs/service/report-database-faults.ts";
import type { Reason } from "../domain/reason.ts";
import {
  findChange,
  listChanges,
  readTransactions,
  type ChangeRow,
  type TransactionsRow,
} from "../store/changes.ts";
import { makeResumeToken, nilUuid, placeBefore, readResumeToken, type WatchPlace } from "./watch-token.ts";

/*
 * A watch: every version of every case of a tenant, each once, a case's in order, also across breaks.
 *
 *   start    from the resume token, or from the oldest open transaction; the first message tells the place
 *   read     a page of entries behind the place, of transactions that have ended and before which none is open
 *   give     one message an entry, with the place behind it; the next page is read once the caller has taken them all
 *   wait     for a commit here or elsewhere, or for the poll; a quiet stream moves its token on now and then
 *
 * Nothing is kept between reads but the place, so a slow caller costs no memory, and after any break the caller's last token
 * says where to go on. A transaction that stays open in any database of the cluster delays every watch, and loses nothing.
 * A stream ends when the token of its caller does, and when the service stops.
 */

const pageCountMax = 100;
const pageBytesMax = 1024 * 1024;
/** Looks follow each other no closer: many commits make one look. */
const quietMs = 20;
/** So long after the last message a quiet stream gets a new token: resuming from it skips what was others'. */
const tokenEveryMs = 15_000;
const retryAfterMs = 5_000;

export interface WatchRequest {
  readonly tenantId: string;
  /** Empty: from now on. */
  readonly resumeToken: string;
  /** When the caller's right to listen ends. */
  readonly expiresAt: Date;
  readonly signal: AbortSignal;
  /** What one step may take; throws when the caller's time is up. */
  readonly remainingMs: () => number;
}

/** A change as it is stored: what the event says, and the case right after it as far as that is kept. */
export interface CaseChange {
  readonly caseId: string;
  readonly version: number;
  readonly event: Uint8Array;
  /** The answer to the request that made the change. */
  readonly answer: Uint8Array | undefined;
}

export interface WatchMessage {
  readonly change: CaseChange | undefined;
  readonly resumeToken: string;
}

export interface WatchCases {
  /**
   * Watches a tenant's cases. Faults PAGE_TOKEN_INVALID, RESUME_TOKEN_EXPIRED, RATE_LIMITED (too many streams), UNAUTHENTICATED once
   * `expiresAt` has come, OVERLOADED when the service stops, and what `reportDatabaseFaults` makes of outages.
   */
  watch(request: WatchRequest): AsyncIterable<WatchMessage>;
  /** Ends every stream; later ones are refused. */
  stop(): void;
}

export interface WatchCasesDependencies {
  readonly pool: pg.Pool;
  readonly now: () => Date;
  /** Calls `ring` after commits, here and in other processes, until disposed. Some may be missed: the poll finds them. */
  readonly onCommits: (ring: () => void) => Disposable;
  readonly pollMs: number;
  readonly streamsMax: number;
  readonly streamsPerTenantMax: number;
}

export function createWatchCases(dependencies: WatchCasesDependencies): WatchCases {
  const stopping = new AbortController();
  const streams = createCounter(dependencies.streamsMax, dependencies.streamsPerTenantMax);
  return {
    async *watch(request) {
      using _place = streams.take(request.tenantId);
      using bell = createBell();
      using _commits = dependencies.onCommits(bell.ring);
      yield* follow(dependencies, bell, { ...request, stopping: stopping.signal });
    },
    stop: () => stopping.abort(),
  };
}

interface Following extends WatchRequest {
  readonly stopping: AbortSignal;
}

async function* follow(
  { pool, now, pollMs }: WatchCasesDependencies,
  bell: Bell,
  request: Following,
): AsyncIterable<WatchMessage> {
  const { tenantId, expiresAt, signal, stopping } = request;
  const leftMs = (): number => {
    signal.throwIfAborted();
    if (stopping.aborted) {
      const message = "the service stops: resume in a moment";
      throw new Fault<Reason>("OVERLOADED", {}, { message, retryAfterMs });
    }
    const ms = expiresAt.getTime() - now().getTime();
    if (ms > 0) return ms;
    throw new Fault<Reason>("UNAUTHENTICATED", { why: "expired" }, { message: "the token has expired" });
  };
  const ended = AbortSignal.any([signal, stopping]);

  leftMs();
  let place = await findStart(pool, request);
  yield { change: undefined, resumeToken: makeResumeToken(tenantId, place) };
  let toldAt = performance.now();
  for (;;) {
    leftMs();
    const { transactions, rows } = await read(
      pool,
      request,
      listChanges(tenantId, place.position, pageCountMax, pageBytesMax),
    );
    // A database that was put back, or another that took its place, is not one to go on in.
    if (transactions.identity !== place.identity) throw new Fault<Reason>("RESUME_TOKEN_EXPIRED");
    for (const row of rows as readonly ChangeRow[]) {
      leftMs(); // The caller may have taken long over the message before.
      place = placeBehind(place.identity, row);
      yield { change: toChange(row), resumeToken: makeResumeToken(tenantId, place) };
      toldAt = performance.now();
    }
    if (rows.length > 0) continue;
    if (performance.now() - toldAt >= tokenEveryMs) {
      place = placeBefore(place.identity, transactions.open_from);
      yield { change: undefined, resumeToken: makeResumeToken(tenantId, place) };
      toldAt = performance.now();
    }
    await pause(quietMs);
    await bell.wait(Math.min(pollMs, leftMs()), ended);
  }
}

async function findStart(pool: pg.Pool, request: Following): Promise<WatchPlace> {
  const { tenantId, resumeToken } = request;
  const given = resumeToken === "" ? undefined : readResumeToken(tenantId, resumeToken);
  if (resumeToken !== "" && given === undefined) throw new Fault<Reason>("PAGE_TOKEN_INVALID");
  const { position, eventId } = given ?? placeBefore("", "0");
  const { transactions, rows } = await read(pool, request, findChange(tenantId, position, eventId));
  const { identity, open_from: openFrom, unused_from: unusedFrom } = transactions;
  if (given === undefined) return placeBefore(identity, openFrom);
  // What has not happened yet here, or is not here any more, was seen before the database was put back to an earlier time.
  const isAhead = BigInt(position.committedIn) > BigInt(unusedFrom);
  const isGone = eventId !== nilUuid && rows.length === 0;
  if (given.identity !== identity || isAhead || isGone) throw new Fault<Reason>("RESUME_TOKEN_EXPIRED");
  return given;
}

/** Runs a statement together with `readTransactions`, which goes first. */
async function read(
  pool: pg.Pool,
  { tenantId, remainingMs }: Following,
  statement: Statement,
): Promise<{ transactions: TransactionsRow; rows: readonly unknown[] }> {
  const options = { tenantId, timeoutMs: remainingMs(), readOnly: true, planEachTime: true };
  const [first, second] = await reportDatabaseFaults(() =>
    runForTenant(pool, options, [readTransactions, statement]),
  );
  const transactions: TransactionsRow | undefined = first?.rows[0];
  if (!transactions || !second) throw new Error(`${statement.name}: no result`);
  return { transactions, rows: second.rows };
}

function placeBehind(identity: string, row: ChangeRow): WatchPlace {
  const position = { committedIn: row.committed_in, caseId: row.case_id, version: row.version };
  return { identity, position, eventId: row.event_id };
}

function toChange(row: ChangeRow): CaseChange {
  const { case_id: caseId, version, event, answer } = row;
  return { caseId, version, event, answer: answer ?? undefined };
}

/** Counts streams, of all and of each tenant; taking one too many is a Fault. */
function createCounter(max: number, perTenantMax: number): { take(tenantId: string): Disposable } {
  const byTenant = new Map<string, number>();
  let count = 0;
  return {
    take(tenantId) {
      const own = byTenant.get(tenantId) ?? 0;
      if (count >= max || own >= perTenantMax) {
        const message = "too many watches are open";
        throw new Fault<Reason>("RATE_LIMITED", {}, { message, retryAfterMs });
      }
      count += 1;
      byTenant.set(tenantId, own + 1);
      return {
        [Symbol.dispose]() {
          count -= 1;
          const left = (byTenant.get(tenantId) ?? 1) - 1;
          if (left === 0) byTenant.delete(tenantId);
          else byTenant.set(tenantId, left);
        },
      };
    },
  };
}
