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
  /** Only events before this one; absent: up to the last. */
  readonly beforeLeafIndex?: bigint;
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
  const given = conditions.flatMap(({ letter, sql, isTime, value }) => {
    const wanted = value(query.filter, query);
    return wanted === undefined ? [] : [{ letter, sql, isTime, wanted }];
  });
  const numbered = given.map(({ sql, isTime }, at) => ({ sql: `${sql} $${at + 7}`, isTime }));
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
            FROM (${candidates(numbered)}) AS candidates
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

/** So many events at most are looked at one after another before the index of a time is asked. */
const nearMax = 1_000;

/**
 * The page's events and the one after them.
 *
 * A range of time is asked for in two ways. PostgreSQL takes events of a range to be spread over the whole log, and walks the
 * log to the first of them, which may be at its end: times grow as the log does. So `near` walks a part that is bounded,
 * and where that does not fill the page, `far` takes the first of all that the index of the time holds of the range. What it
 * is ordered by has no index, or it would be that same walk.
 */
function candidates(given: readonly { readonly sql: string; readonly isTime: boolean }[]): string {
  const both = (some: typeof given) => some.map(({ sql }) => ` AND ${sql}`).join("");
  const times = given.filter(({ isTime }) => isTime);
  const others = both(given.filter(({ isTime }) => !isTime));
  if (times.length === 0) {
    return `
      SELECT leaf_index, digest, bytes, received_at
        FROM events
       WHERE tenant_id = $1 AND leaf_index > $2${others}
       ORDER BY leaf_index
       LIMIT $3::bigint + 1`;
  }
  return `
      WITH walked AS MATERIALIZED (
        SELECT leaf_index, occurred_at, recorded_at, received_at
          FROM events
         WHERE tenant_id = $1 AND leaf_index > $2${others}
         ORDER BY leaf_index
         LIMIT ${nearMax}
      ), near AS MATERIALIZED (
        SELECT leaf_index FROM walked WHERE true${both(times)} ORDER BY leaf_index LIMIT $3::bigint + 1
      ), reach AS MATERIALIZED (
        SELECT (SELECT count(*) FROM near) > $3::bigint OR (SELECT count(*) FROM walked) < ${nearMax} AS is_enough
      ), far AS MATERIALIZED (
        SELECT leaf_index
          FROM events
         WHERE NOT (SELECT is_enough FROM reach) AND tenant_id = $1 AND leaf_index > $2${both(given)}
         ORDER BY leaf_index + 0
         LIMIT $3::bigint + 1
      )
      SELECT e.leaf_index, e.digest, e.bytes, e.received_at
        FROM (
          SELECT leaf_index FROM near WHERE (SELECT is_enough FROM reach)
          UNION ALL
          SELECT leaf_index FROM far
        ) AS chosen
       CROSS JOIN LATERAL (
         SELECT leaf_index, digest, bytes, received_at
           FROM events
          WHERE tenant_id = $1 AND leaf_index = chosen.leaf_index
          LIMIT 1 -- Keeps the planner from reading the whole log for a join.
       ) AS e`;
}

interface Condition {
  /** Names the condition in the statement's name. */
  readonly letter: string;
  /** The comparison up to its parameter. */
  readonly sql: string;
  readonly isTime: boolean;
  /** What to compare with; `undefined` when it is not asked for. */
  readonly value: (filter: EventFilter, query: EventQuery) => string | bigint | undefined;
}

const conditions: readonly Condition[] = [
  condition("s", "source =", (filter) => filter.source),
  condition("t", "type =", (filter) => filter.type),
  condition("j", "subject =", (filter) => filter.subject),
  condition("a", "actor_id =", (filter) => filter.actorId),
  condition("o", "on_behalf_of =", (filter) => filter.onBehalfOf),
  condition("r", "request_id =", (filter) => filter.requestId),
  condition("c", "correlation_id =", (filter) => filter.correlationId),
  condition("u", "leaf_index <", (_, query) => query.beforeLeafIndex),
  timeCondition("f", "occurred_at >=", (filter) => filter.occurredFromMicros),
  timeCondition("b", "occurred_at <", (filter) => filter.occurredBeforeMicros),
  timeCondition("g", "recorded_at >=", (filter) => filter.recordedFromMicros),
  timeCondition("d", "recorded_at <", (filter) => filter.recordedBeforeMicros),
  timeCondition("h", "received_at >=", (filter) => filter.receivedFromMicros),
  timeCondition("e", "received_at <", (filter) => filter.receivedBeforeMicros),
];

function condition(letter: string, sql: string, value: Condition["value"]): Condition {
  return { letter, sql, isTime: false, value };
}

function timeCondition(
  letter: string,
  sql: string,
  micros: (filter: EventFilter) => bigint | undefined,
): Condition {
  const value = (filter: EventFilter): string | undefined => {
    const wanted = micros(filter);
    return wanted === undefined ? undefined : toSqlTime(wanted);
  };
  return { letter, sql, isTime: true, value };
}
