import type pg from "pg";
import type { Log } from "#libs/telemetry/log.ts";
import { runTransaction } from "#libs/pg/tenant-transaction.ts";
import type { PendingEvent } from "../domain/pending-event.ts";
import { pendingLanes } from "../store/outbox.ts";
import { createBell } from "./bell.ts";
import type { DeliveryError, RecordEvents } from "./deliver.ts";
import { openLaneLocks, type LaneLocks } from "./lane-locks.ts";
import { createRest, type Rest } from "./rest.ts";
import { workLane } from "./work-lane.ts";

/*
 * The relay: drains the outbox into the audit service.
 *
 *   wake      rung after a commit in this process, by NOTIFY from others, or by the poll behind both
 *   look      which lanes have something waiting
 *   lock      take free ones in random order, a few at a time (session advisory locks)
 *   work      batch, deliver, delete what was acknowledged; tenants of a lane in turn
 *   unlock    when nothing is left or after `laneSliceMs`, so that others get their share
 *
 * The lock only saves work. Safety is the audit service's: an event delivered twice is a DUPLICATE there, one that comes too
 * early is OUT_OF_ORDER. So any step may die, or two relays work the same lane:
 *
 *   died after delivery, before deletion    the next relay delivers again, is told DUPLICATE, deletes
 *   lock session lost mid-batch             the batch ends as it may; another relay has taken the lane meanwhile
 *   audit service away                      the lane backs off, nothing is counted against an event, writes go on
 *   an event is rejected                    it becomes a dead letter and parks its case; other cases go on
 */

const lanesAtOnce = 4;
const laneSliceMs = 5_000;
/** How soon to look again at a lane that another relay holds. */
const heldElsewhereMs = 50;
const connectTimeoutMs = 5_000;
const statementTimeoutMs = 10_000;

export interface RelayOptions {
  /** As the relay's role; opened once more for the locks. */
  readonly databaseUrl: string;
  readonly pool: pg.Pool;
  readonly recordEvents: RecordEvents;
  readonly pollMs: number;
  readonly now: () => Date;
  readonly log: Log;
}

export interface Relay extends AsyncDisposable {
  /** Tells that something may wait. Cheap; many rings make one look. */
  wake(): void;
}

/** Starts the relay. Disposing it lets the batches under way end, then gives every lane back. */
export function startRelay(options: RelayOptions): Relay {
  const stopping = new AbortController();
  const bell = createBell();
  const ended = run(options, bell.ring, bell.wait, stopping.signal);
  return {
    wake: bell.ring,
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await ended;
    },
  };
}

async function run(
  options: RelayOptions,
  ring: () => void,
  wait: (ms: number, signal: AbortSignal) => Promise<void>,
  stopping: AbortSignal,
): Promise<void> {
  const { log, pollMs } = options;
  const memory = createMemory();
  let locks: LaneLocks | undefined;
  while (!stopping.aborted) {
    let waitMs = pollMs;
    try {
      if (!locks?.alive) {
        await locks?.[Symbol.asyncDispose]();
        locks = await openLaneLocks({
          url: options.databaseUrl,
          connectTimeoutMs,
          onNotified: ring,
          onLost: (error) => log.warn({ err: error }, "relay lost its lock session"),
        });
      }
      waitMs = Math.min(waitMs, await sweep(options, locks, memory, stopping));
      memory.database.succeeded("case");
    } catch (error) {
      waitMs = memory.database.failed("case");
      log.warn({ err: error, retryMs: waitMs }, "relay cannot work: the case database does not answer");
    }
    await wait(waitMs, stopping);
  }
  await locks?.[Symbol.asyncDispose]();
}

/** Works every lane that can be had. Returns how long to wait before the next look, if nobody rings. */
async function sweep(
  options: RelayOptions,
  locks: LaneLocks,
  memory: Memory,
  stopping: AbortSignal,
): Promise<number> {
  const [result] = await runTransaction(options.pool, { timeoutMs: statementTimeoutMs }, [pendingLanes()]);
  const pending: number[] = (result?.rows ?? []).map((row) => row.lane);
  const queue = shuffle(pending.filter((lane) => memory.lanes.remainingMs(lane) <= 0));
  let waitMs = Math.min(
    Infinity,
    ...pending.map((lane) => memory.lanes.remainingMs(lane)).filter((ms) => ms > 0),
  );
  const worker = async (): Promise<void> => {
    for (let lane = queue.pop(); lane !== undefined && !stopping.aborted; lane = queue.pop()) {
      if (!(await locks.tryLock(lane))) {
        waitMs = Math.min(waitMs, heldElsewhereMs);
        continue;
      }
      const { failure, sliceSpent } = await visit(options, locks, memory, lane, stopping);
      if (sliceSpent) waitMs = 0;
      if (failure) {
        const retryMs = memory.lanes.failed(lane);
        waitMs = Math.min(waitMs, retryMs);
        options.log.warn({ lane, retryMs, err: failure }, "relay backs off: delivery failed");
      } else {
        memory.lanes.succeeded(lane);
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: lanesAtOnce }, worker));
  const broken = ends.find((end) => end.status === "rejected");
  if (broken) throw broken.reason;
  return waitMs;
}

async function visit(
  options: RelayOptions,
  locks: LaneLocks,
  memory: Memory,
  lane: number,
  stopping: AbortSignal,
): Promise<{ failure: DeliveryError | undefined; sliceSpent: boolean }> {
  const until = performance.now() + laneSliceMs;
  try {
    const failure = await workLane(
      {
        ...options,
        restingCases: memory.cases,
        onBuried: ({ tenantId, eventId, caseId, version }: PendingEvent, reason, detail) =>
          options.log.error(
            { tenantId, eventId, caseId, version, reason, detail },
            "event became a dead letter",
          ),
      },
      lane,
      () => !stopping.aborted && locks.alive && performance.now() < until,
    );
    return { failure, sliceSpent: performance.now() >= until };
  } finally {
    if (locks.alive) await locks.unlock(lane);
  }
}

/** What rests after a failure: the case database, lanes whose delivery failed, cases whose events came out of order. */
interface Memory {
  readonly database: Rest<"case">;
  readonly lanes: Rest<number>;
  readonly cases: Rest<string>;
}

function createMemory(): Memory {
  const nowMs = (): number => performance.now();
  return {
    database: createRest(nowMs, Math.random),
    lanes: createRest(nowMs, Math.random),
    cases: createRest(nowMs, Math.random),
  };
}

function shuffle(lanes: readonly number[]): number[] {
  const shuffled = [...lanes];
  for (let at = shuffled.length - 1; at > 0; at--) {
    const other = Math.floor(Math.random() * (at + 1));
    [shuffled[at], shuffled[other]] = [shuffled[other]!, shuffled[at]!];
  }
  return shuffled;
}
