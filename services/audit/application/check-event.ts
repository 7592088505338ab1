import { createHash } from "node:crypto";
import type { Log } from "#libs/telemetry/log.ts";
import type { StoredEvent } from "../domain/event.ts";
import { type StoredEventRow, toStoredEvent } from "../store/events.ts";

/** Reads a stored event; throws, and tells the log, when its bytes do not have its digest. */
export type CheckEvent = (tenantId: string, row: StoredEventRow) => StoredEvent;

export function createCheckEvent(log: Log): CheckEvent {
  return (tenantId, row) => {
    const event = toStoredEvent(row);
    if (createHash("sha256").update(event.bytes).digest().equals(event.digest)) return event;
    log.error({ tenant_id: tenantId, leaf_index: row.leaf_index }, "stored event does not have its digest");
    throw new Error(`leaf ${row.leaf_index}: the stored bytes do not have the stored digest`);
  };
}
