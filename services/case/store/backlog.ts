import type { Statement } from "#libs/pg/statement.ts";

/** More rows are not counted: a scrape has to stay cheap when nothing was delivered for long. */
const countMax = 100_000;
/** So few cases are kept in a hash table, whatever the planner believes; looking each event's case up takes seconds. */
const heldUpMax = 10_000;

export interface PendingRow {
  readonly pending: number;
  /** The earliest event id, a UUIDv7, that waits behind no dead letter of its case; null where none does. */
  readonly oldest_event_id: string | null;
}

/**
 * What waits for delivery, of all tenants: one row. Reads at most `countMax` events and `heldUpMax` dead letters; beyond those, a case
 * with a dead letter is taken for one without. Locks nothing.
 */
export function countPending(): Statement {
  return {
    name: "count_pending",
    text: `
      SELECT count(*)::int AS pending,
             min(event_id::text COLLATE "C") FILTER (
               WHERE (tenant_id, case_id) NOT IN (SELECT tenant_id, case_id FROM dead_letters LIMIT ${heldUpMax})
             ) AS oldest_event_id
        FROM (SELECT tenant_id, case_id, event_id FROM outbox LIMIT ${countMax}) o`,
    values: [],
  };
}

export interface DeadLetterCountRow {
  readonly dead_letters: number;
}

/** What was given up, of all tenants: one row. Reads at most `countMax` entries of an index. Locks nothing. */
export function countDeadLetters(): Statement {
  return {
    name: "count_dead_letters",
    text: `SELECT count(*)::int AS dead_letters FROM (SELECT event_id FROM dead_letters LIMIT ${countMax}) d`,
    values: [],
  };
}
