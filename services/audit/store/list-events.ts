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
 * Only to be planned for its values each time: a condition that is not asked for goes with a null, for which the planner drops it, and
 * what is left can use its own index. A text a set of conditions would be thousands of them, which every connection keeps for good.
 *
 * The weights are summed up by the database, from lengths alone, so that bytes beyond the page are neither unpacked nor sent.
 */
export function listEvents(query: EventQuery): Statement {
  const isOfTime = times.some(({ value }) => value(query) !== undefined);
  const conditions = isOfTime ? [...others, ...times] : others;
  return {
    name: isOfTime ? "list_events_of_time" : "list_events",
    text: `
      SELECT ${storedEventColumns}, found
        FROM (
          SELECT leaf_index, digest, bytes, received_at,
                 count(*) OVER () AS found,
                 row_number() OVER (ORDER BY leaf_index) AS place,
                 sum($5::bigint * octet_length(bytes) + $6::bigint) OVER (ORDER BY leaf_index) AS weight
            FROM (${isOfTime ? candidatesOfTime : candidates}) AS candidates
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
      ...conditions.map(({ value }) => value(query) ?? null),
    ],
  };
}

interface Condition {
  /** The comparison up to its parameter. */
  readonly sql: string;
  /** Of the parameter. */
  readonly type: "text" | "uuid" | "bigint" | "timestamptz";
  /** What to compare with; `undefined` when it is not asked for. */
  readonly value: (query: EventQuery) => string | bigint | undefined;
}

const others: readonly Condition[] = [
  { sql: "source =", type: "text", value: ({ filter }) => filter.source },
  { sql: "type =", type: "text", value: ({ filter }) => filter.type },
  { sql: "subject =", type: "text", value: ({ filter }) => filter.subject },
  { sql: "actor_id =", type: "text", value: ({ filter }) => filter.actorId },
  { sql: "on_behalf_of =", type: "text", value: ({ filter }) => filter.onBehalfOf },
  { sql: "request_id =", type: "uuid", value: ({ filter }) => filter.requestId },
  { sql: "correlation_id =", type: "text", value: ({ filter }) => filter.correlationId },
  { sql: "leaf_index <", type: "bigint", value: ({ beforeLeafIndex }) => beforeLeafIndex },
];

const times: readonly Condition[] = [
  timeCondition("occurred_at >=", (filter) => filter.occurredFromMicros),
  timeCondition("occurred_at <", (filter) => filter.occurredBeforeMicros),
  timeCondition("recorded_at >=", (filter) => filter.recordedFromMicros),
  timeCondition("recorded_at <", (filter) => filter.recordedBeforeMicros),
  timeCondition("received_at >=", (filter) => filter.receivedFromMicros),
  timeCondition("received_at <", (filter) => filter.receivedBeforeMicros),
];

function timeCondition(sql: string, micros: (filter: EventFilter) => bigint | undefined): Condition {
  const value = ({ filter }: EventQuery): string | undefined => {
    const wanted = micros(filter);
    return wanted === undefined ? undefined : toSqlTime(wanted);
  };
  return { sql, type: "timestamptz", value };
}

const whereOthers = whereOf(others, 7);
const whereTimes = whereOf(times, 7 + others.length);

/** All of the conditions that are asked for; their parameters are numbered from `first` on. */
function whereOf(conditions: readonly Condition[], first: number): string {
  return conditions
    .map(({ sql, type }, at) => ` AND ($${first + at}::${type} IS NULL OR ${sql} $${first + at}::${type})`)
    .join("");
}

/** The page's events and the one after them. */
const candidates = `
      SELECT leaf_index, digest, bytes, received_at
        FROM events
       WHERE tenant_id = $1 AND leaf_index > $2${whereOthers}
       ORDER BY leaf_index
       LIMIT $3::bigint + 1`;

/** So many events at most are looked at one after another before the index of a time is asked. */
const nearMax = 1_000;

/**
 * The same of a range of time.
 *
 * It is asked for in two ways. PostgreSQL takes events of a range to be spread over the whole log, and walks the
 * log to the first of them, which may be at its end: times grow as the log does. So `near` walks a part that is bounded,
 * and where that does not fill the page, `far` takes the first of all that the index of the time holds of the range. What it
 * is ordered by has no index, or it would be that same walk.
 */
const candidatesOfTime = `
      WITH walked AS MATERIALIZED (
        SELECT leaf_index, occurred_at, recorded_at, received_at
          FROM events
         WHERE tenant_id = $1 AND leaf_index > $2${whereOthers}
         ORDER BY leaf_index
         LIMIT ${nearMax}
      ), near AS MATERIALIZED (
        SELECT leaf_index FROM walked WHERE true${whereTimes} ORDER BY leaf_index LIMIT $3::bigint + 1
      ), reach AS MATERIALIZED (
        SELECT (SELECT count(*) FROM near) > $3::bigint OR (SELECT count(*) FROM walked) < ${nearMax} AS is_enough
      ), far AS MATERIALIZED (
        SELECT leaf_index
          FROM events
         WHERE NOT (SELECT is_enough FROM reach) AND tenant_id = $1 AND leaf_index > $2${whereOthers}${whereTimes}
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
