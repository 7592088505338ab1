import type { Statement } from "#libs/pg/statement.ts";
import { entryColumns, numberParameters, writeEntry, type NewEntry, type Parameter } from "./new-entry.ts";

/** What an operator did about the delivery of events, as an entry of its own subject. */
export interface DeliveryAct extends NewEntry {
  /** Under which the entries of such acts stand. */
  readonly actId: string;
  /** Of the act, from 1. */
  readonly actVersion: number;
}

export interface Redrive extends DeliveryAct {
  /** Dead letters, by their events' ids. */
  readonly deadEventIds: readonly string[];
}

export interface Skip extends DeliveryAct {
  readonly deadEventId: string;
  readonly tombstoneEventId: string;
  /** Absent when the tombstone was made before. */
  readonly tombstone: Uint8Array | undefined;
}

/*
 * Each is the one data-modifying statement of its act: dead letters out, outbox rows in, the act's entry, its outbox row and answer, all
 * or none. Nobody but these statements removes a dead letter, and of two with the same version one fails with a unique violation of
 * `audit_entries_pkey`: so what was found after the act before is still there.
 */

/** Queues events again. */
export function redriveDeadLetters(act: Redrive): Statement {
  return {
    name: "redrive_dead_letters",
    text: redriveText,
    values: [...valuesOf(act), act.deadEventIds],
  };
}

/** Queues a tombstone in an event's place. Fails with a unique violation of `tombstones_pkey` when one was made meanwhile. */
export function skipDeadLetter(act: Skip): Statement {
  return {
    name: "skip_dead_letter",
    text: skipText,
    values: [...valuesOf(act), act.deadEventId, act.tombstoneEventId, act.tombstone ?? null],
  };
}

const actColumns = [
  ...entryColumns,
  { name: "act_id", type: "uuid" },
  { name: "act_version", type: "integer" },
];

function valuesOf(act: DeliveryAct): unknown[] {
  return [...entryColumns.map(({ valueOf }) => valueOf(act)), act.actId, act.actVersion];
}

/** The place of the act's entry. */
function saved(p: Parameter): string {
  return `saved AS (
    SELECT ${p("tenant_id")} AS tenant_id, ${p("act_id")} AS case_id, ${p("act_version")} AS version, 'attended' AS state
  )`;
}

const r = numberParameters([...actColumns, { name: "dead_event_ids", type: "uuid[]" }]);
const redriveText = `
  WITH ${saved(r)},
  taken AS (
    DELETE FROM dead_letters
     WHERE tenant_id = ${r("tenant_id")} AND event_id = ANY(${r("dead_event_ids")})
    RETURNING tenant_id, event_id, case_id, version
  ),
  again AS (
    INSERT INTO outbox (tenant_id, event_id, lane, case_id, version, traceparent)
    SELECT tenant_id, event_id, ${r("lane")}, case_id, version, ${r("traceparent")} FROM taken
    ON CONFLICT DO NOTHING
  )${writeEntry(r, "new")}`;

const s = numberParameters([
  ...actColumns,
  { name: "dead_event_id", type: "uuid" },
  { name: "tombstone_event_id", type: "uuid" },
  { name: "tombstone", type: "bytea" },
]);
const skipText = `
  WITH ${saved(s)},
  taken AS (
    DELETE FROM dead_letters
     WHERE tenant_id = ${s("tenant_id")} AND event_id = ${s("dead_event_id")}
    RETURNING tenant_id, case_id, version
  ),
  stone AS (
    INSERT INTO tombstones (tenant_id, case_id, version, event_id, event, act_id, act_version, person_id, act_action)
    SELECT tenant_id, case_id, version, ${s("tombstone_event_id")}, ${s("tombstone")}, ${s("act_id")}, ${s("act_version")},
           coalesce(${s("on_behalf_of")}, ${s("principal_id")}), ${s("action")}
      FROM taken WHERE ${s("tombstone")} IS NOT NULL
  ),
  again AS (
    INSERT INTO outbox (tenant_id, event_id, lane, case_id, version, traceparent)
    SELECT tenant_id, ${s("tombstone_event_id")}, ${s("lane")}, case_id, version, ${s("traceparent")} FROM taken
    ON CONFLICT DO NOTHING
  )${writeEntry(s, "new")}`;
