import type pg from "pg";
import { createBell } from "#libs/bell/bell.ts";
import { Fault } from "#libs/fault/fault.ts";
import type { Statement } from "#libs/pg/statement.ts";
import { runForTenant } from "#libs/pg/tenant-transaction.ts";
import { follow, type FollowSource } from "#libs/service/follow.ts";
import type { Listener } from "#libs/service/listener.ts";
import { reportDatabaseFaults } from "#libs/service/report-database-faults.ts";
import { createStreamPlaces, type StreamLimits } from "#libs/service/stream-places.ts";
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
 * A watch: every version of every case of a tenant, each once, a case's in order, also across breaks (libs/service/follow.ts).
 *
 * It starts from the resume token, or from the oldest open transaction, and reads entries of transactions that have ended and
 * before which none is open. A transaction that stays open in any database of the cluster delays every watch, and loses nothing.
 */

const pageCountMax = 100;
const pageBytesMax = 1024 * 1024;
const placeEveryMs = 15_000;

export interface WatchRequest {
  readonly listener: Listener;
  /** Empty: from now on. */
  readonly resumeToken: string;
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
   * the caller's token has expired, OVERLOADED when the service stops, and what `reportDatabaseFaults` makes of outages.
   */
  watch(request: WatchRequest): AsyncIterable<WatchMessage>;
  /** Ends every stream; later ones are refused. */
  stop(): void;
}

export interface WatchCasesDependencies extends StreamLimits {
  readonly pool: pg.Pool;
  readonly now: () => Date;
  /** Calls `ring` after commits, here and in other processes, until disposed. Some may be missed: the poll finds them. */
  readonly onCommits: (ring: () => void) => Disposable;
  readonly pollMs: number;
}

export function createWatchCases(dependencies: WatchCasesDependencies): WatchCases {
  const { pool, now, onCommits, pollMs } = dependencies;
  const stopping = new AbortController();
  const places = createStreamPlaces(dependencies);
  return {
    async *watch(request) {
      const { listener } = request;
      using _place = places.take(listener.tenantId);
      using bell = createBell();
      using _commits = onCommits(bell.ring);
      const options = { listener, bell, pollMs, placeEveryMs, now, stopping: stopping.signal };
      for await (const { item: change, place } of follow(options, changesOf(pool, request))) {
        yield { change, resumeToken: makeResumeToken(listener.tenantId, place) };
      }
    },
    stop: () => stopping.abort(),
  };
}

function changesOf(pool: pg.Pool, request: WatchRequest): FollowSource<WatchPlace, CaseChange> {
  const { tenantId } = request.listener;
  return {
    start: () => findStart(pool, request),
    async readBehind({ identity, position }) {
      const statement = listChanges(tenantId, position, pageCountMax, pageBytesMax);
      const { transactions, rows } = await read(pool, request.listener, statement);
      // A database that was put back, or another that took its place, is not one to go on in.
      if (transactions.identity !== identity) throw new Fault<Reason>("RESUME_TOKEN_EXPIRED");
      const changes = rows as readonly ChangeRow[]; // The columns of `listChanges`.
      const steps = changes.map((row) => ({ item: toChange(row), place: placeBehind(identity, row) }));
      return { steps, end: placeBefore(identity, transactions.open_from) };
    },
  };
}

async function findStart(pool: pg.Pool, { listener, resumeToken }: WatchRequest): Promise<WatchPlace> {
  const { tenantId } = listener;
  const given = resumeToken === "" ? undefined : readResumeToken(tenantId, resumeToken);
  if (resumeToken !== "" && given === undefined) throw new Fault<Reason>("PAGE_TOKEN_INVALID");
  const { position, eventId } = given ?? placeBefore("", "0");
  const { transactions, rows } = await read(pool, listener, findChange(tenantId, position, eventId));
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
  { tenantId, remainingMs, signal }: Listener,
  statement: Statement,
): Promise<{ transactions: TransactionsRow; rows: readonly unknown[] }> {
  const options = { tenantId, timeoutMs: remainingMs(), signal, readOnly: true, planEachTime: true };
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
