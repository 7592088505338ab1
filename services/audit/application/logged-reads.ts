import { Fault } from "#libs/fault/fault.ts";
import type { EventFilter, StoredEvent } from "../domain/event.ts";
import type { Reason } from "../domain/reason.ts";
import type { AccessLog, Auditor } from "./access-log.ts";
import { describeFilter, toCanonicalJson } from "./describe-filter.ts";
import type { EventPage, ReadEvents } from "./read-events.ts";
import type { PageRequest } from "./read-rows.ts";

/** As `ReadEvents`, by somebody who is named in the access log. */
export interface LoggedReads {
  get(auditor: Auditor, eventId: string): Promise<StoredEvent>;
  list(auditor: Auditor, filter: EventFilter, page: PageRequest): Promise<EventPage>;
}

/** Reads that give nothing before the access log has it. Who looked for an event that is not there is in it, too. */
export function createLoggedReads(readEvents: ReadEvents, accessLog: AccessLog): LoggedReads {
  return {
    async get(auditor, eventId) {
      const query = { method: "GetEvent", filter: toCanonicalJson({ eventId }) } as const;
      const found = await readEvents.get(auditor, eventId).catch(unlessNotFound);
      const events = found instanceof Fault ? [] : [found];
      await accessLog.write(auditor, query, given(events, found instanceof Fault ? found.reason : "OK"));
      if (found instanceof Fault) throw found;
      return found;
    },

    async list(auditor, filter, page) {
      const found = await readEvents.list(auditor, filter, page);
      const query = { method: "ListEvents", filter: describeFilter(filter) } as const;
      await accessLog.write(auditor, query, given(found.events, "OK"));
      return found;
    },
  };
}

function given(events: readonly StoredEvent[], outcome: string) {
  return {
    outcome,
    givenCount: events.length,
    firstLeafIndex: events[0]?.leafIndex,
    lastLeafIndex: events.at(-1)?.leafIndex,
  };
}

function unlessNotFound(error: unknown): Fault {
  const missing: Reason = "EVENT_NOT_FOUND";
  if (error instanceof Fault && error.reason === missing) return error;
  throw error;
}
