import type { ServiceImpl } from "@connectrpc/connect";
import {
  type AuditService,
  ExportFormat,
  type GetInclusionProofRequest,
} from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { noteCall } from "#libs/rpc/call-notes.ts";
import { remainingMs } from "#libs/rpc/deadline.ts";
import { principalKey } from "#libs/rpc/principal.ts";
import type { EventWriter, ExportEvents } from "../application/export-events.ts";
import type { ListHeads } from "../application/list-heads.ts";
import type { LoggedReads } from "../application/logged-reads.ts";
import type { ReadAccesses } from "../application/read-accesses.ts";
import type { Leaf, ReadProofs } from "../application/read-proofs.ts";
import type { PageRequest } from "../application/read-rows.ts";
import type { RecordEvents } from "../application/record-events.ts";
import type { TailEvents } from "../application/tail-events.ts";
import { readAccessFilter, toAccessMessage } from "./access-messages.ts";
import { auditorOf, ceilingMs, listeningAuditorOf } from "./caller.ts";
import { cloudEvents } from "./export/cloud-events.ts";
import { csv } from "./export/csv.ts";
import { ndjson } from "./export/ndjson.ts";
import { toAuditedEvent, toEventOutcome, toHeadMessage, toTailMessage } from "./messages.ts";
import { noteBatch } from "./note-message.ts";
import { readFilter } from "./read-filter.ts";
import { toTimestamp } from "./timestamps.ts";

const pageSizeDefault = 50;

/** Every method of AuditService. */
export function createAuditService(application: {
  readonly recordEvents: RecordEvents;
  readonly readEvents: LoggedReads;
  readonly readAccesses: ReadAccesses;
  readonly tailEvents: TailEvents;
  readonly exportEvents: ExportEvents;
  readonly listHeads: ListHeads;
  readonly readProofs: ReadProofs;
}): ServiceImpl<typeof AuditService> {
  const { recordEvents, readEvents, readAccesses, tailEvents, exportEvents, listHeads, readProofs } =
    application;
  return {
    async recordEvents({ events }, context) {
      const sources = new Set(context.values.get(principalKey)?.sources);
      const outcomes = await recordEvents({
        events,
        sources,
        remainingMs: () => remainingMs(context, ceilingMs),
        signal: context.signal,
        onRead: (batch) => noteCall(context.values, noteBatch(batch)),
      });
      return { outcomes: outcomes.map(toEventOutcome) };
    },

    async getEvent({ eventId }, context) {
      return { event: toAuditedEvent(await readEvents.get(auditorOf(context), eventId.toLowerCase())) };
    },

    async listEvents(request, context) {
      const filter = readFilter(request.filter);
      const { events, nextToken } = await readEvents.list(auditorOf(context), filter, pageOf(request));
      return { events: events.map(toAuditedEvent), nextPageToken: nextToken };
    },

    async *tailEvents({ resumeToken, filter }, context) {
      const request = { auditor: listeningAuditorOf(context), filter: readFilter(filter), resumeToken };
      for await (const message of tailEvents.tail(request)) yield toTailMessage(message);
    },

    async *exportEvents({ format, filter, fromLeafIndex }, context) {
      const auditor = listeningAuditorOf(context);
      yield* exportEvents({ auditor, filter: readFilter(filter), fromLeafIndex, writer: writerOf(format) });
    },

    async listAccesses(request, context) {
      const filter = readAccessFilter(request.filter);
      const { accesses, nextToken } = await readAccesses(auditorOf(context), filter, pageOf(request));
      return { accesses: accesses.map(toAccessMessage), nextPageToken: nextToken };
    },

    async listSubjectHeads(request, context) {
      const { heads, nextToken } = await listHeads(auditorOf(context), request.source, pageOf(request));
      return { heads: heads.map(toHeadMessage), nextPageToken: nextToken };
    },

    async getCheckpoint(_, context) {
      const { note, sealedAtMicros, unsealedCount, verifierKeys } = await readProofs.checkpoint(
        auditorOf(context),
      );
      return {
        checkpoint: note,
        sealedAt: toTimestamp(sealedAtMicros),
        unsealedCount: BigInt(unsealedCount),
        verifierKeys: [...verifierKeys],
      };
    },

    async getInclusionProof({ target, treeSize }, context) {
      return readProofs.inclusion(auditorOf(context), readLeaf(target), treeSize);
    },

    async getConsistencyProof({ firstSize, secondSize }, context) {
      return readProofs.consistency(auditorOf(context), firstSize, secondSize);
    },
  };
}

function writerOf(format: ExportFormat): EventWriter {
  switch (format) {
    case ExportFormat.CSV:
      return csv;
    case ExportFormat.CLOUDEVENTS:
      return cloudEvents;
    default:
      return ndjson;
  }
}

function pageOf(request: { readonly pageSize: number; readonly pageToken: string }): PageRequest {
  return { size: request.pageSize === 0 ? pageSizeDefault : request.pageSize, token: request.pageToken };
}

/** The schema asks for one of the two. */
function readLeaf(target: GetInclusionProofRequest["target"]): Leaf {
  return target.case === "eventId"
    ? { eventId: target.value.toLowerCase() }
    : { leafIndex: target.value ?? 0n };
}
