/*
 * An append: events, heads, the log's size, its tree, and the tiles that it fills, in one transaction of two round trips
 * (locked-transaction.ts).
 *
 *   read      under the lock: size and tree; known ids and heads; and where a tile may be filled, the hashes in it so far
 *   write     events, heads, filled tiles, size and tree
 *
 * A release that knows of no trees may have appended: then the tree lags behind the log. An append takes in what it lacks, as
 * long as that is not much; of more, each transaction takes in a part and appends nothing, until the rest is not much. So each
 * is bounded, one that fails has cost nothing of what went before, and whoever appends at the same time gets a turn.
 */
import type { Pool, QueryResult } from "pg";
import { hashBytes, hashLeaf } from "#libs/merkle/hash.ts";
import { tileWidth } from "#libs/merkle/tile.ts";
import type { Statement } from "#libs/pg/statement.ts";
import type { AppendPlan, Arrival, LogState } from "../domain/append.ts";
import { insertEvents, readRecorded, toRecorded, type NewEvent } from "./events.ts";
import { growTree, type GrownTree, type OpenTree } from "./grow-tree.ts";
import { keyLookups } from "./key-lookups.ts";
import { runLocked, type LockedTransactionOptions } from "./locked-transaction.ts";
import { createLog, lockLog, saveLog, toTree, type LogRow } from "./logs.ts";
import { readOpenLeaves, readOpenRoots, type OpenLeavesRow, type RootRow } from "./open-tiles.ts";
import { readSubjectHeads, saveSubjectHeads, toSubjectHead } from "./subject-heads.ts";
import { insertTiles } from "./tiles.ts";
import { TreeDamagedError } from "./tree-damaged.ts";

/** An event that may be appended: what is judged of it, and what is stored. */
export type Candidate = Arrival & Omit<NewEvent, "leafIndex">;

/** How many events a transaction hashes at most that are in the log and not in its tree. */
const lagMax = 4_096;

/** What is committed is on disk, whatever the database's default: the signer vouches for what it can see. */
const settings = { ...keyLookups, synchronous_commit: "on" };

/**
 * Appends what `plan` makes of one tenant's candidates, in one transaction, and returns the plan once it is committed.
 *
 * `plan` is asked once, under the lock of the tenant's log, and with what the log holds then. When it appends nothing,
 * nothing is written, but for what the tree lacked. Throws what `runLocked` throws, and `TreeDamagedError`.
 */
export async function appendEvents(
  pool: Pool,
  options: LockedTransactionOptions,
  candidates: readonly Candidate[],
  plan: (log: LogState) => AppendPlan<Candidate>,
): Promise<AppendPlan<Candidate>> {
  const endsAt = performance.now() + options.timeoutMs;
  const leafHashes = new Map(candidates.map((candidate) => [candidate, hashLeaf(candidate.bytes)]));
  for (;;) {
    let planned: AppendPlan<Candidate> | undefined;
    const left = { ...options, timeoutMs: endsAt - performance.now(), settings };
    await runLocked(pool, left, readsOf(options.tenantId, candidates), (results) => {
      const { log, open, isFarBehind } = toState(results);
      if (isFarBehind) return writesOf(options.tenantId, log, open, growTree(open, []));
      planned = plan(log);
      const arriving = planned.appended.map(({ arrival }) => leafHashes.get(arrival)!); // One of the candidates.
      return writesOf(options.tenantId, log, open, growTree(open, arriving), planned);
    });
    if (planned) return planned;
  }
}

/** Takes into the tree of the tenant's log what it lacks. Throws as `appendEvents` does; what is done by then stays. */
export async function catchUp(pool: Pool, options: LockedTransactionOptions): Promise<void> {
  await appendEvents(pool, options, [], ({ size }) => ({ outcomes: [], appended: [], heads: [], size }));
}

function readsOf(tenantId: string, candidates: readonly Candidate[]): readonly Statement[] {
  return [
    createLog(tenantId),
    // Each of the next ones sees what the lock's last holder committed, because it begins after the lock was had.
    lockLog(tenantId),
    readRecorded(
      tenantId,
      candidates.map(({ eventId }) => eventId),
    ),
    readSubjectHeads(tenantId, candidates),
    readOpenLeaves(tenantId, candidates.length, lagMax),
    readOpenRoots(tenantId, candidates.length),
  ];
}

interface State {
  readonly log: LogState;
  readonly open: OpenTree;
  /** More of the log's leaves are not in the tree than were read. */
  readonly isFarBehind: boolean;
}

function toState([, logs, recorded, heads, leaves, roots]: readonly QueryResult[]): State {
  const row: LogRow | undefined = logs?.rows[0];
  if (!row || !recorded || !heads || !leaves || !roots) throw new Error("the tenant's log cannot be read");
  const tree = toTree(row);
  const size = Number(row.size);
  const first = tree.size - (tree.size % tileWidth);
  const open = { tree, leaves: toLeaves(leaves.rows[0], first), roots: toRoots(roots.rows) };
  const known = first + open.leaves.length;
  const lags = tree.size < size;
  if (lags && known <= tree.size) throw new TreeDamagedError(`leaf ${known} is missing from the log`);
  return {
    log: {
      size: BigInt(row.size),
      recorded: recorded.rows.map(toRecorded),
      heads: heads.rows.map(toSubjectHead),
    },
    open,
    isFarBehind: lags && known < size,
  };
}

/** In order from leaf `first` on; throws when one is missing. */
function toLeaves(row: OpenLeavesRow | undefined, first: number): readonly Uint8Array[] {
  if (!row) return [];
  const { indexes, hashes } = row;
  const starts = new Map(indexes.map((index, place) => [Number(index), place * hashBytes]));
  return indexes.map((_, at) => {
    const start = starts.get(first + at);
    if (start === undefined) throw new TreeDamagedError(`leaf ${first + at} is missing from the log`);
    return hashes.subarray(start, start + hashBytes);
  });
}

/** By level, each in order. */
function toRoots(rows: readonly RootRow[]): OpenTree["roots"] {
  const ordered = rows.toSorted((a, b) => Number(a.tile_index) - Number(b.tile_index));
  const byLevel = Map.groupBy(ordered, ({ level }) => level);
  return new Map(Array.from(byLevel, ([level, own]) => [level, own.map(({ root }) => root)]));
}

function writesOf(
  tenantId: string,
  { size }: LogState,
  before: OpenTree,
  { tree, tiles }: GrownTree,
  planned?: AppendPlan<Candidate>,
): readonly Statement[] {
  if (tree.size === before.tree.size) return [];
  const save = saveLog(tenantId, planned?.size ?? size, tree);
  const fill = tiles.length === 0 ? [] : [insertTiles(tenantId, tiles)];
  if (!planned || planned.appended.length === 0) return [...fill, save];
  const events = planned.appended.map(({ arrival: { event, bytes, digest }, leafIndex }) => ({
    event,
    bytes,
    digest,
    leafIndex,
  }));
  return [insertEvents(tenantId, events), saveSubjectHeads(tenantId, planned.heads), ...fill, save];
}
