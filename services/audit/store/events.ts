import type { Statement } from "#libs/pg/statement.ts";

import type { Recorded } from "../domain/append.ts";
import type { Event, StoredEvent } from "../domain/event.ts";

export interface RecordedRow {
  readonly event_id: string;
  readonly digest: Buffer;
  /** A bigint in decimal. */
  readonly leaf_index: string;
}

/**
 * Reads which of the ids the tenant's log holds already, with what digest. In no order; an id it does not hold has no row.
 * To be run with `keyLookups`.
 */
export function readRecorded(tenantId: string, eventIds: readonly string[]): Statement {
  return {
    name: "read_recorded",
    text: `
      SELECT found.event_id, found.digest, found.leaf_index
        FROM unnest($2::uuid[]) AS wanted (event_id)
       CROSS JOIN LATERAL (
         SELECT event_id, digest, leaf_index
           FROM events
          WHERE tenant_id = $1 AND event_id BETWEEN wanted.event_id AND wanted.event_id
          ORDER BY event_id
          LIMIT 1
       ) AS found`,
    values: [tenantId, [...new Set(eventIds)]],
  };
}

export function toRecorded(row: RecordedRow): Recorded {
  return {
    eventId: row.event_id,
    digest: row.digest.toString("hex"),
    leafIndex: BigInt(row.leaf_index),
  };
}

/** An event about to be stored: what it says, its bytes as they came, and its place. */
export interface NewEvent {
  readonly event: Event;
  readonly bytes: Uint8Array;
  /** Of `bytes`, in lower-case hex. */
  readonly digest: string;
  readonly leafIndex: bigint;
}

/**
 * Appends the events, all or none, all received at the same instant. The caller has locked the tenant's log, and
 * leaf indexes go on where it ends.
 */
export function insertEvents(tenantId: string, events: readonly NewEvent[]): Statement {
  return {
    name: "insert_events",
    text: `
      INSERT INTO events (
        tenant_id, leaf_index, event_id, source, type, subject, subject_sequence, actor_id, on_behalf_of, request_id, correlation_id, occurred_at, recorded_at,
        received_at, digest, bytes
      )
      SELECT $1, new.leaf_index, new.event_id, new.source, new.type, new.subject,
             new.subject_sequence, new.actor_id, new.on_behalf_of,
             new.request_id, new.correlation_id, new.occurred_at, new.recorded_at,
             statement_timestamp(), new.digest, new.bytes
        FROM unnest(
          $2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::text[],
          $10::uuid[], $11::text[], $12::timestamptz[], $13::timestamptz[], $14::bytea[], $15::bytea[]
        ) AS new (
          leaf_index, event_id, source, type, subject, subject_sequence, actor_id, on_behalf_of,
          request_id, correlation_id, occurred_at, recorded_at, digest, bytes
        )`,
    values: [
      tenantId,
      events.map(({ leafIndex }) => leafIndex),
      events.map(({ event }) => event.eventId),
      events.map(({ event }) => event.source),
      events.map(({ event }) => event.type),
      events.map(({ event }) => event.subject),
      events.map(({ event }) => event.sequence),
      events.map(({ event }) => event.actorId),
      events.map(({ event }) => event.onBehalfOf || null),
      events.map(({ event }) => event.requestId || null),
      events.map(({ event }) => event.correlationId || null),
      events.map(({ event }) => toSqlTime(event.occurredAtMicros)),
      events.map(({ event }) => toSqlTime(event.recordedAtMicros)),
      events.map(({ digest }) => Buffer.from(digest, "hex")),
      events.map(({ bytes }) => bytes),
    ],
  };
}

export interface StoredEventRow {
  /** Bigints in decimal. */
  readonly leaf_index: string;
  readonly received_at_micros: string;
  /** Of the first checkpoint that covers the event; null where none does. */
  readonly sealed_at_micros: string | null;
  readonly digest: Buffer;
  readonly bytes: Buffer;
}

/** The columns of a `StoredEventRow`, in a statement whose `$1` is the tenant. */
export const storedEventColumns = `
  leaf_index, digest, bytes, (extract(epoch FROM received_at) * 1000000)::bigint AS received_at_micros,
  (SELECT (extract(epoch FROM sealed_at) * 1000000)::bigint FROM checkpoints
    WHERE tenant_id = $1 AND tree_size > leaf_index ORDER BY tree_size LIMIT 1) AS sealed_at_micros`;

/** Reads one event of the tenant: one row, or none when the log does not hold it. */
export function findEvent(tenantId: string, eventId: string): Statement {
  return {
    name: "find_event",
    text: `SELECT ${storedEventColumns} FROM events WHERE tenant_id = $1 AND event_id = $2`,
    values: [tenantId, eventId],
  };
}

export function toStoredEvent(row: StoredEventRow): StoredEvent {
  return {
    leafIndex: BigInt(row.leaf_index),
    bytes: row.bytes,
    digest: row.digest,
    receivedAtMicros: BigInt(row.received_at_micros),
    sealedAtMicros: row.sealed_at_micros === null ? undefined : BigInt(row.sealed_at_micros),
  };
}

/** As PostgreSQL reads a timestamptz, to the microsecond; the driver's own dates end at milliseconds. */
export function toSqlTime(micros: bigint): string {
  const ofSecond = ((micros % 1_000_000n) + 1_000_000n) % 1_000_000n;
  const wholeSecond = new Date(Number((micros - ofSecond) / 1_000n)).toISOString();
  return wholeSecond.replace(".000Z", `.${String(ofSecond).padStart(6, "0")}Z`);
}
