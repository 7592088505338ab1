import type { Statement } from "#libs/pg/statement.ts";

/** More rows are not counted: a scrape has to stay cheap when nothing was delivered for long. */
const countMax = 100_000;

export interface PendingRow {
  readonly pending: number;
  /** The earliest event id that waits, a UUIDv7; null where none does. */
  readonly oldest_event_id: string | null;
}

/** What waits for delivery, of all tenants: one row. Reads at most `countMax` entries of an index. Locks nothing. */
export function countPending(): Statement {
  return {
    name: "count_pending",
    text: `
      SELECT count(*)::int AS pending, min(event_id::text COLLATE "C") AS oldest_event_id
        FROM (SELECT event_id FROM outbox LIMIT ${countMax}) o`,
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
