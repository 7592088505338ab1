import type pg from "pg";
import { runTransaction } from "#libs/pg/tenant-transaction.ts";
import {
  beforeEveryEvent,
  buryEvent,
  nextPendingTenant,
  pendingEvents,
  removeDelivered,
  toPendingEvent,
} from "../store/outbox.ts";
import type { PendingEvent } from "../domain/pending-event.ts";
import { deliver, type DeliveryError, type RecordEvents, type Verdict } from "./deliver.ts";
import type { Rest } from "./rest.ts";

const batchCountMax = 500;
/** Also keeps a batch, with its framing, well below the audit service's message limit of 4 MiB. */
const batchBytesMax = 1024 * 1024;
const statementTimeoutMs = 10_000;

export interface LaneDependencies {
  readonly pool: pg.Pool;
  readonly recordEvents: RecordEvents;
  readonly now: () => Date;
  /** Cases whose events came out of order: not sent again at once. */
  readonly restingCases: Rest<string>;
  readonly onBuried: (event: PendingEvent, reason: string, detail: string) => void;
}

/**
 * Works a lane: one batch a tenant in turn, until nothing is left that could be delivered now or `mayGoOn` says no.
 * Events that have to wait (out of order) are passed over, and their cases rest. Returns why it had to stop early, if so.
 */
export async function workLane(
  dependencies: LaneDependencies,
  lane: number,
  mayGoOn: () => boolean,
): Promise<DeliveryError | undefined> {
  const { pool } = dependencies;
  /** How far this visit has come in each tenant's events. */
  const passed = new Map<string, string>();
  for (let more = true; more;) {
    more = false;
    let tenantId: string | undefined = "";
    while (mayGoOn()) {
      tenantId = await firstTenantAfter(pool, lane, tenantId);
      if (tenantId === undefined) break;
      const batch = await readBatch(pool, lane, tenantId, passed.get(tenantId) ?? beforeEveryEvent);
      const last = batch.at(-1);
      if (last === undefined) continue;
      passed.set(tenantId, last.eventId);
      more = true;
      const ready = batch.filter((event) => dependencies.restingCases.remainingMs(caseKey(event)) <= 0);
      if (ready.length === 0) continue;
      const { verdicts, failure } = await deliver(dependencies.recordEvents, ready);
      await settle(dependencies, tenantId, verdicts);
      if (failure) return failure;
    }
    more &&= mayGoOn();
  }
  return undefined;
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
    pendingEvents(lane, tenantId, afterEventId, batchCountMax),
  ]);
  const batch: PendingEvent[] = [];
  let bytes = 0;
  for (const row of result?.rows ?? []) {
    const event = toPendingEvent(row);
    bytes += event.event.length;
    if (batch.length > 0 && bytes > batchBytesMax) break;
    batch.push(event);
  }
  return batch;
}

function caseKey({ tenantId, caseId }: PendingEvent): string {
  return `${tenantId}/${caseId}`;
}

/** Writes down what became of each event. Dying before this only means that the audit service sees duplicates. */
async function settle(
  { pool, now, restingCases, onBuried }: LaneDependencies,
  tenantId: string,
  verdicts: readonly Verdict[],
): Promise<void> {
  const delivered: string[] = [];
  const waiting = new Set<string>();
  for (const { event, kind } of verdicts) {
    if (kind === "delivered") {
      delivered.push(event.eventId);
      restingCases.succeeded(caseKey(event));
    }
    if (kind === "waits") waiting.add(caseKey(event));
  }
  for (const key of waiting) restingCases.failed(key);
  if (delivered.length > 0) {
    await runTransaction(pool, { timeoutMs: statementTimeoutMs }, [removeDelivered(tenantId, delivered)]);
  }
  for (const verdict of verdicts) {
    if (verdict.kind !== "dead") continue;
    const { event, reason, detail } = verdict;
    await runTransaction(pool, { timeoutMs: statementTimeoutMs }, [buryEvent(event, reason, detail, now())]);
    onBuried(event, reason, detail);
  }
}
