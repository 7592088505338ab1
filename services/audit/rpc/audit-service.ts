import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { AuditService } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { remainingMs } from "#libs/rpc/deadline.ts";
import { principalKey } from "#libs/rpc/principal.ts";
import type { Reader, ReadEvents } from "../application/read-events.ts";
import type { RecordEvents } from "../application/record-events.ts";
import { toAuditedEvent, toEventOutcome } from "./messages.ts";
import { readFilter } from "./read-filter.ts";

/** The longest a call may take, whatever the caller allows; in milliseconds. */
const ceilingMs = 10_000;
const pageSizeDefault = 50;

/** AuditService as far as it is built; what is missing here answers UNIMPLEMENTED. */
export function createAuditService(application: {
  readonly recordEvents: RecordEvents;
  readonly readEvents: ReadEvents;
}): Partial<ServiceImpl<typeof AuditService>> {
  const { recordEvents, readEvents } = application;
  return {
    async recordEvents({ events }, context) {
      const sources = new Set(context.values.get(principalKey)?.sources);
      const outcomes = await recordEvents({
        events,
        sources,
        remainingMs: () => remainingMs(context, ceilingMs),
      });
      return { outcomes: outcomes.map(toEventOutcome) };
    },

    async getEvent({ eventId }, context) {
      return { event: toAuditedEvent(await readEvents.get(readerOf(context), eventId.toLowerCase())) };
    },

    async listEvents({ filter, pageSize, pageToken }, context) {
      const page = { size: pageSize === 0 ? pageSizeDefault : pageSize, token: pageToken };
      const { events, nextToken } = await readEvents.list(readerOf(context), readFilter(filter), page);
      return { events: events.map(toAuditedEvent), nextPageToken: nextToken };
    },
  };
}

function readerOf(context: HandlerContext): Reader {
  const tenantId = context.values.get(principalKey)?.tenantId;
  if (tenantId === undefined) throw new Error("a handler ran without a verified tenant");
  return { tenantId, remainingMs: () => remainingMs(context, ceilingMs) };
}
