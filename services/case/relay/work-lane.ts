import type pg from "pg";
import { runTransaction } from "#libs/pg/tenant-transaction.ts";
import type { PendingEvent } from "../domain/pending-event.ts";
import {
  beforeEveryEvent,
  buryEvent,
  nextPendingTenant,
  pendingEvents,
  removeDelivered,
  toPendingEvent,
} from "../store/outbox.ts";
import { deliver, type DeliveryError, type RecordEvents, type Verdict } from "./deliver.ts";
import type { RelayMemory } from "./memory.ts";

const batchCountMax = 500;
/** Also keeps a batch, with its framing, well below the audit service's message limit of 4 MiB. */
const batchBytesMax = 1024 * 1024;
const statementTimeoutMs = 10_000;
/** So many tenants whose delivery fails in one visit: the service is away, rather than those tenants broken. */
const failingTenantsMax = 3;

export interface LaneDependencies {
  readonly pool: pg.Pool;
  readonly recordEvents: RecordEvents;
  readonly now: () => Date;
  readonly memory: RelayMemory;
  readonly onBuried: (event: PendingEvent, reason: string, detail: string) => void;
  readonly onFailure: (tenantId: string, failure: DeliveryError) => void;
}

export interface Visit {
  /** True when the lane should rest as a whole. */
  readonly failed: boolean;
  /** When the first of the tenants and cases that were passed over may be tried again; `Infinity` when none was. */
  readonly retryMs: number;
}

/**
 * Works a lane: one batch a tenant in turn, going on behind the tenant where the last visit ended, until nothing is left that
 * could be delivered now or `mayGoOn` says no. A tenant whose delivery fails rests, and the others go on.
 */
export async function workLane(
  dependencies: LaneDependencies,
  lane: number,
  mayGoOn: () => boolean,
): Promise<Visit> {
  const { memory } = dependencies;
  /** How far this visit has come in each tenant's events. */
  const passed = new Map<string, string>();
  let failing = 0;
  let retryMs = Infinity;
  let from = memory.lastTenants.get(lane) ?? "";
  for (let more = true; more && mayGoOn();) {
    more = from !== ""; // Began in the middle: those before it are still to be seen.
    for (let tenantId: string | undefined = from; mayGoOn();) {
      tenantId = await firstTenantAfter(dependencies.pool, lane, tenantId);
      if (tenantId === undefined) break;
      memory.lastTenants.set(lane, tenantId);
      const restMs = memory.tenants.remainingMs(tenantId);
      if (restMs > 0) {
        retryMs = Math.min(retryMs, restMs);
        continue;
      }
      const turn = await takeTurn(dependencies, lane, tenantId, passed, mayGoOn);
      retryMs = Math.min(retryMs, turn.retryMs);
      more ||= turn.more;
      if (turn.failed) failing += 1;
      if (failing >= failingTenantsMax) return { failed: true, retryMs };
    }
    from = "";
  }
  return { failed: false, retryMs };
}

interface Turn {
  readonly failed: boolean;
  /** True when the tenant may have more to deliver in this visit. */
  readonly more: boolean;
  readonly retryMs: number;
}

/** Delivers one batch of a tenant. */
async function takeTurn(
  dependencies: LaneDependencies,
  lane: number,
  tenantId: string,
  passed: Map<string, string>,
  mayGoOn: () => boolean,
): Promise<Turn> {
  const { pool, memory, recordEvents, onFailure } = dependencies;
  const batch = await readBatch(pool, lane, tenantId, passed.get(tenantId) ?? beforeEveryEvent);
  const last = batch.at(-1);
  if (last === undefined) return { failed: false, more: false, retryMs: Infinity };
  passed.set(tenantId, last.eventId);
  const rests = batch.map((event) => memory.cases.remainingMs(caseKey(event)));
  const ready = batch.filter((_, index) => (rests[index] ?? 0) <= 0);
  const { verdicts, failure } =
    ready.length > 0 ? await deliver(recordEvents, ready, mayGoOn) : { verdicts: [], failure: undefined };
  await settle(dependencies, tenantId, verdicts);
  const delivered = verdicts.some(({ kind }) => kind === "delivered" || kind === "dead");
  // A tenant of whom nothing moves rests as a whole when there is much of it: reading it again and again costs.
  const stuck = !delivered && batch.length >= batchCountMax;
  if (failure === undefined && !stuck) {
    memory.tenants.succeeded(tenantId);
    return { failed: false, more: true, retryMs: Math.min(Infinity, ...rests.filter((ms) => ms > 0)) };
  }
  const retryMs = memory.tenants.failed(tenantId);
  if (failure) onFailure(tenantId, failure);
  return { failed: failure !== undefined, more: false, retryMs };
}

async function firstTenantAfter(pool: pg.Pool, lane: number, tenantId: string): Promise<string | undefined> {
  const [result] = await runTransaction(pool, { timeoutMs: statementTimeoutMs }, [
    nextPendingTenant(lane, tenantId),
  ]);
  return result?.rows[0]?.tenant_id;
}

async function readBatch(
  pool: pg.Pool,
  lane: number,
  tenantId: string,
  afterEventId: string,
): Promise<readonly PendingEvent[]> {
  const [result] = await runTransaction(pool, { timeoutMs: statementTimeoutMs }, [
    pendingEvents(lane, tenantId, afterEventId, batchCountMax, batchBytesMax),
  ]);
  return (result?.rows ?? []).map(toPendingEvent);
}

/** Writes down what became of each event. Dying before this only means that the audit service sees duplicates. */
async function settle(
  { pool, now, memory, onBuried }: LaneDependencies,
  tenantId: string,
  verdicts: readonly Verdict[],
): Promise<void> {
  const delivered = verdicts.filter(({ kind }) => kind === "delivered").map(({ event }) => event);
  if (delivered.length > 0) {
    memory.suspects.gotThrough();
    const eventIds = delivered.map(({ eventId }) => eventId);
    await runTransaction(pool, { timeoutMs: statementTimeoutMs }, [removeDelivered(tenantId, eventIds)]);
  }
  for (const event of delivered) memory.cases.succeeded(caseKey(event));
  const waiting = new Set<string>();
  for (const verdict of verdicts) {
    const dead = toDeadLetter(verdict, memory);
    if (dead) {
      const { event, reason, detail } = dead;
      await runTransaction(pool, { timeoutMs: statementTimeoutMs }, [
        buryEvent(event, reason, detail, now()),
      ]);
      onBuried(event, reason, detail);
    } else if (verdict.kind !== "delivered") {
      waiting.add(caseKey(verdict.event));
    }
  }
  for (const key of waiting) memory.cases.failed(key);
}

function toDeadLetter(
  verdict: Verdict,
  memory: RelayMemory,
): { event: PendingEvent; reason: string; detail: string } | undefined {
  if (verdict.kind === "dead") return verdict;
  if (verdict.kind !== "suspect" || !memory.suspects.failedAlone(verdict.event.eventId)) return undefined;
  return { event: verdict.event, reason: "DELIVERY_FAILED", detail: verdict.detail };
}

function caseKey({ tenantId, caseId }: PendingEvent): string {
  return `${tenantId}/${caseId}`;
}
