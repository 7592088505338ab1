import type { Statement } from "#libs/pg/statement.ts";

import type { EventFilter } from "../domain/event.ts";
import { storedEventColumns, type StoredEventRow, toSqlTime } from "./events.ts";

/** Bounds a page: its first event comes whatever it weighs. */
export interface PageWeight {
  readonly bytesMax: number;
  /** What an event weighs: this for each of its bytes, and this besides. */
  readonly perEventByte: number;
  readonly perEvent: number;
}

export interface EventQuery {
  readonly tenantId: string;
  readonly filter: EventFilter;
  /** Only events after this one; -1 starts with the first. */
  readonly afterLeafIndex: bigint;
  /** How many rows at most. */
  readonly pageSize: number;
  readonly weight: PageWeight;
}

export interface ListedEventRow extends StoredEventRow {
  /** How many events there were, of up to `pageSize` + 1. The same in every row. A bigint in decimal. */
  readonly found: string;
}

/**
 * Reads the tenant's events that fit the filter, by leaf index, ascending. More follow when `found` is above the
 * number of rows given.
 *
 * The weights are summed up by the database, from lengths alone, so that bytes beyond the page are neither unpacked nor sent.
 */
export function listEvents(query: EventQuery): Statement {
  const given = conditions.flatMap(({ letter, sql, value }) => {
    const wanted = value(query.filter);
    return wanted === undefined ? [] : [{ letter, sql, wanted }];
  });
  const where = given.map(({ sql }, index) => `AND ${sql} $${index + 7}`).join(" ");
  return {
    // One text a set of conditions, so that each can use its own index.
    name: `list_events_${given.map(({ letter }) => letter).join("")}`,
    text: `
      SELECT ${storedEventColumns}, found
        FROM (
          SELECT leaf_index, digest, bytes, received_at,
                 count(*) OVER () AS found,
                 row_number() OVER (ORDER BY leaf_index) AS place,
                 sum($5::bigint * octet_length(bytes) + $6::bigint) OVER (ORDER BY leaf_index) AS weight
            FROM (
              SELECT leaf_index, digest, bytes, received_at
                FROM events
               WHERE tenant_id = $1 AND leaf_index > $2 ${where}
               ORDER BY leaf_index
               LIMIT $3::bigint + 1
            ) AS candidates
        ) AS measured
       WHERE place = 1 OR (place <= $3::bigint AND weight <= $4::bigint)
       ORDER BY leaf_index`,
    values: [
      query.tenantId,
      query.afterLeafIndex,
      query.pageSize,
      query.weight.bytesMax,
      query.weight.perEventByte,
      query.weight.perEvent,
      ...given.map(({ wanted }) => wanted),
    ],
  };
}

interface Condition {
  /** Names the condition in the statement's name. */
  readonly letter: string;
  /** The comparison up to its parameter. */
  readonly sql: string;
  /** What to compare with; `undefined` when the filter does not ask for it. */
  readonly value: (filter: EventFilter) => string | undefined;
}

const conditions: readonly Condition[] = [
  { letter: "s", sql: "source =", value: (filter) => filter.source },
  { letter: "t", sql: "type =", value: (filter) => filter.type },
  { letter: "j", sql: "subject =", value: (filter) => filter.subject },
  { letter: "a", sql: "actor_id =", value: (filter) => filter.actorId },
  { letter: "o", sql: "on_behalf_of =", value: (filter) => filter.onBehalfOf },
  { letter: "r", sql: "request_id =", value: (filter) => filter.requestId },
  { letter: "c", sql: "correlation_id =", value: (filter) => filter.correlationId },
  { letter: "f", sql: "occurred_at >=", value: (filter) => sqlTime(filter.occurredFromMicros) },
  { letter: "b", sql: "occurred_at <", value: (filter) => sqlTime(filter.occurredBeforeMicros) },
];

function sqlTime(micros: bigint | undefined): string | undefined {
  return micros === undefined ? undefined : toSqlTime(micros);
}
