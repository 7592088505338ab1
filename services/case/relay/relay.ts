import { setTimeout as pause } from "node:timers/promises";
import { metrics, type Counter } from "@opentelemetry/api";
import type pg from "pg";
import { runTransaction } from "#libs/pg/tenant-transaction.ts";
import { endsWithin } from "#libs/resilience/ends-within.ts";
import { hideValues } from "#libs/telemetry/hide-values.ts";
import type { Log } from "#libs/telemetry/log.ts";
import { laneCount } from "../domain/lane.ts";
import { nextPendingLane } from "../store/outbox.ts";
import { createBell, type Bell } from "#libs/bell/bell.ts";
import type { RecordEvents } from "./deliver.ts";
import { openLaneLocks, type LaneLocks } from "./lane-locks.ts";
import { createMemory, type RelayMemory } from "./memory.ts";
import { workLane } from "./work-lane.ts";

/*
 * The relay: drains the outbox into the audit service.
 *
 *   wake      rung after a commit in this process, by NOTIFY from others, at a visit's end, or by the poll behind them
 *   look      from a random lane on, which lanes have something waiting
 *   lock      take free ones, a few at a time (session advisory locks), and visit each beside the others
 *   work      batch, deliver, delete what was acknowledged; tenants of a lane in turn
 *   unlock    when nothing is left or after `laneSliceMs`, so that others get their share
 *
 * The lock only saves work. Safety is the audit service's: an event delivered twice is a DUPLICATE there, one that comes too
 * early is OUT_OF_ORDER. So any step may die, or two relays work the same lane:
 *
 *   died after delivery, before deletion    the next relay delivers again, is told DUPLICATE, deletes
 *   lock session lost mid-batch             the batch ends as it may; another relay has taken the lane meanwhile
 *   audit service away                      tenants and lanes rest, nothing is counted against an event, writes go on
 *   an event is rejected                    it becomes a dead letter and parks its case, until an operator has acted
 *                                           (application/dead-letters.ts); other cases go on
 *   the service breaks on one event alone   so it does three times, while others get through: a dead letter as well
 */

const lanesAtOnce = 4;
const laneSliceMs = 5_000;
/** Looks follow each other no closer: many wake-ups make one look. */
const quietMs = 5;
/** How soon to look again at a lane that another relay holds. */
const heldElsewhereMs = 50;
const connectTimeoutMs = 5_000;
const statementTimeoutMs = 10_000;
/** How long stopping waits for the batches under way: what is left of them is another relay's, which is told DUPLICATE. */
const stopMs = 3_000;

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

/** Starts the relay. Disposing it lets the batches under way end, for three seconds, then gives every lane back. */
export function startRelay(options: RelayOptions): Relay {
  const stopping = new AbortController();
  const leaving = new AbortController();
  const bell = createBell();
  const ended = run(options, bell, stopping.signal, leaving.signal);
  return {
    wake: bell.ring,
    async [Symbol.asyncDispose]() {
      stopping.abort();
      if (!(await endsWithin(stopMs, ended))) leaving.abort();
    },
  };
}

/** What one run shares among its visits. */
interface Run {
  readonly options: RelayOptions;
  readonly bell: Bell;
  readonly stopping: AbortSignal;
  readonly memory: RelayMemory;
  readonly deadLetters: Counter;
  /** Lanes that are being visited, each until its visit has ended. */
  readonly visits: Map<number, Promise<void>>;
  /** Of those, the ones in which something was pending when it was looked for meanwhile: to be looked at again. */
  readonly again: Set<number>;
}

async function run(
  options: RelayOptions,
  bell: Bell,
  stopping: AbortSignal,
  leaving: AbortSignal,
): Promise<void> {
  const { log, pollMs } = options;
  const memory = createMemory();
  const deadLetters = metrics.getMeter("caseflow.relay").createCounter("caseflow.relay.dead_letters", {
    description: "Events whose delivery was given up, by reason",
  });
  const state: Run = { options, bell, stopping, memory, deadLetters, visits: new Map(), again: new Set() };
  let locks: LaneLocks | undefined;
  while (!stopping.aborted) {
    let waitMs = pollMs;
    try {
      if (!locks?.alive) {
        await locks?.[Symbol.asyncDispose]();
        locks = await openLaneLocks({
          url: options.databaseUrl,
          connectTimeoutMs,
          signal: leaving,
          onNotified: bell.ring,
          onLost: (error) => {
            if (leaving.aborted) return;
            const retryMs = memory.database.failed("case");
            log.warn({ err: error, retryMs }, "relay lost its lock session");
            bell.ringIn(retryMs);
          },
        });
      }
      await goRound(state, locks);
      memory.database.succeeded("case");
    } catch (error) {
      waitMs = memory.database.failed("case");
      log.warn({ err: error, retryMs: waitMs }, "relay cannot work");
    }
    await pause(quietMs);
    await bell.wait(waitMs, stopping);
  }
  await Promise.all(state.visits.values());
  await locks?.[Symbol.asyncDispose]();
  bell[Symbol.dispose]();
}

/** Goes once round the lanes in which something waits, and starts a visit to each that can be had, as far as there are hands. */
async function goRound(state: Run, locks: LaneLocks): Promise<void> {
  const { options, memory, visits, stopping } = state;
  for await (const lane of pendingLanes(options.pool)) {
    if (stopping.aborted || !locks.alive) return;
    if (visits.has(lane)) {
      state.again.add(lane);
      continue;
    }
    const restMs = memory.lanes.remainingMs(lane);
    if (restMs > 0) state.bell.ringIn(restMs);
    else if (!(await locks.tryLock(lane))) state.bell.ringIn(heldElsewhereMs);
    else {
      visits.set(lane, visit(state, locks, lane));
      if (visits.size >= lanesAtOnce) await Promise.race(visits.values());
    }
  }
}

/** Lanes in which something waits, each once, from a random one on: many relays do not queue up at the same one. */
async function* pendingLanes(pool: pg.Pool): AsyncIterable<number> {
  const start = Math.floor(Math.random() * laneCount);
  for (let lane = await nextLane(pool, start - 1); lane !== undefined; lane = await nextLane(pool, lane))
    yield lane;
  for (
    let lane = await nextLane(pool, -1);
    lane !== undefined && lane < start;
    lane = await nextLane(pool, lane)
  ) {
    yield lane;
  }
}

async function nextLane(pool: pg.Pool, after: number): Promise<number | undefined> {
  const [result] = await runTransaction(pool, { timeoutMs: statementTimeoutMs }, [nextPendingLane(after)]);
  return result?.rows[0]?.lane;
}

/** Works one lane that is locked and gives it back. Rings when there is more to do at once, or later. Never rejects. */
async function visit(state: Run, locks: LaneLocks, lane: number): Promise<void> {
  const { options, memory, stopping, bell } = state;
  const { log } = options;
  const until = performance.now() + laneSliceMs;
  try {
    const { failed, retryMs } = await workLane(
      {
        ...options,
        memory,
        onBuried: ({ tenantId, eventId, caseId, version }, reason, detail) => {
          state.deadLetters.add(1, { reason });
          const told = { tenantId, eventId, caseId, version, reason, detail: hideValues(detail) };
          log.error(told, "event became a dead letter");
        },
        onFailure: (tenantId, failure) => log.warn({ tenantId, lane, err: failure }, "delivery failed"),
      },
      lane,
      () => !stopping.aborted && locks.alive && performance.now() < until,
    );
    if (failed) memory.lanes.failed(lane);
    else memory.lanes.succeeded(lane);
    if (retryMs !== Infinity) bell.ringIn(retryMs);
  } catch (error) {
    bell.ringIn(memory.lanes.failed(lane));
    log.warn({ lane, err: error }, "a lane could not be worked");
  }
  await giveBack(locks, lane);
  state.visits.delete(lane);
  if (state.again.delete(lane) || performance.now() >= until) bell.ring();
}

/** A lock that cannot be given back is gone with its session, which is told there. */
async function giveBack(locks: LaneLocks, lane: number): Promise<void> {
  if (locks.alive) await locks.unlock(lane).catch(() => undefined);
}
