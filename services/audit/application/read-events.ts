import type { Pool } from "pg";
import { Fault } from "#libs/fault/fault.ts";
import { makePageToken, readPageToken } from "#libs/page-token/page-token.ts";
import type { Statement } from "#libs/pg/statement.ts";
import type { EventFilter, StoredEvent } from "../domain/event.ts";
import type { Reason } from "../domain/reason.ts";
import { findEvent } from "../store/events.ts";
import { listEvents, type ListedEventRow, type PageWeight } from "../store/list-events.ts";
import type { CheckEvent } from "./check-event.ts";
import { readRows, type PageRequest, type Reader } from "./read-rows.ts";

export interface EventPage {
  readonly events: readonly StoredEvent[];
  /** Empty: this was the last page. */
  readonly nextToken: string;
}

export interface ReadEvents {
  /** One event. Fault EVENT_NOT_FOUND. */
  get(reader: Reader, eventId: string): Promise<StoredEvent>;
  /** Events by leaf index, ascending. Fault PAGE_TOKEN_INVALID. */
  list(reader: Reader, filter: EventFilter, page: PageRequest): Promise<EventPage>;
}

/** Reads events; both ways fault as `reportDatabaseFaults` says, and fail when stored bytes do not have their digest. */
export function createReadEvents(pool: Pool, checkEvent: CheckEvent, weight: PageWeight): ReadEvents {
  const read = async (reader: Reader, statement: Statement) => (await readRows(pool, reader, statement)).rows;
  return {
    async get(reader, eventId) {
      const [row] = await read(reader, findEvent(reader.tenantId, eventId));
      if (!row) throw new Fault<Reason>("EVENT_NOT_FOUND", { event_id: eventId });
      return checkEvent(reader.tenantId, row);
    },

    async list(reader, filter, page) {
      const { tenantId } = reader;
      const scope = ["events", tenantId, ...scopeOf(filter)];
      const afterLeafIndex = positionOf(scope, page.token);
      const query = { tenantId, filter, afterLeafIndex, pageSize: page.size, weight };
      const rows: ListedEventRow[] = await read(reader, listEvents(query));
      const last = rows.at(-1);
      const more = last !== undefined && Number(last.found) > rows.length;
      return {
        events: rows.map((row) => checkEvent(tenantId, row)),
        nextToken: more ? makePageToken(scope, last.leaf_index) : "",
      };
    },
  };
}

/** The query a token belongs to: conditions that are given, by name, in an order that does not depend on the caller's. */
function scopeOf(filter: EventFilter): readonly string[] {
  return Object.entries(filter)
    .map(([name, value]) => `${name}=${String(value)}`)
    .toSorted();
}

/** Always below the limit of a bigint. */
const leafIndexPattern = /^\d{1,18}$/;

/** Tokens can be forged: the position has to be of the form that the query takes. */
function positionOf(scope: readonly string[], token: string): bigint {
  if (token === "") return -1n;
  const position = readPageToken(scope, token);
  if (position === undefined || !leafIndexPattern.test(position))
    throw new Fault<Reason>("PAGE_TOKEN_INVALID");
  return BigInt(position);
}
