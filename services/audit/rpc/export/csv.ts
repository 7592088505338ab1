import { fromBinary } from "@bufbuild/protobuf";
import { ActorKind, type Event, EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import type { EventWriter } from "../../application/export-events.ts";
import type { StoredEvent } from "../../domain/event.ts";
import { toTimestamp } from "../timestamps.ts";
import { toHex, toTimeText } from "./texts.ts";

/**
 * What of an event stands in each column. Digests are in hex, times in RFC 3339, an actor's roles and the ids of events with
 * blanks between.
 */
const columns: Readonly<Record<string, (event: Event, stored: StoredEvent) => string | number | bigint>> = {
  leaf_index: (_, { leafIndex }) => leafIndex,
  subject_sequence: ({ subjectSequence }) => subjectSequence,
  event_id: ({ eventId }) => eventId,
  source: ({ source }) => source,
  type: ({ type }) => type,
  schema_version: ({ schemaVersion }) => schemaVersion,
  tenant_id: ({ tenantId }) => tenantId,
  subject: ({ subject }) => subject,
  subject_type: ({ subjectType }) => subjectType,
  previous_digest: ({ previousDigest }) => toHex(previousDigest),
  actor_id: ({ actor }) => actor?.id ?? "",
  actor_kind: ({ actor }) => (actor?.kind === ActorKind.SERVICE ? "service" : "person"),
  actor_roles: ({ actor }) => actor?.roles.join(" ") ?? "",
  actor_on_behalf_of: ({ actor }) => actor?.onBehalfOf ?? "",
  assignee_id: ({ assigneeId }) => assigneeId,
  from_state: ({ fromState }) => fromState,
  to_state: ({ toState }) => toState,
  reason: ({ reason }) => reason,
  legal_authority: ({ legalAuthority }) => legalAuthority,
  decision_hash: ({ decisionHash }) => toHex(decisionHash),
  content_commitment: ({ contentCommitment }) => toHex(contentCommitment),
  policy_version: ({ policyVersion }) => policyVersion,
  review_round: ({ reviewRound }) => reviewRound,
  approvals_required: ({ approvalsRequired }) => approvalsRequired,
  appeal_window_days: ({ appealWindowDays }) => appealWindowDays,
  about_event_ids: ({ aboutEventIds }) => aboutEventIds.join(" "),
  request_id: ({ requestId }) => requestId,
  correlation_id: ({ correlationId }) => correlationId,
  traceparent: ({ traceparent }) => traceparent,
  occurred_at: ({ occurredAt }) => toTimeText(occurredAt),
  recorded_at: ({ recordedAt }) => toTimeText(recordedAt),
  received_at: (_, { receivedAtMicros }) => toTimeText(toTimestamp(receivedAtMicros)),
  tombstone_original_event_id: ({ tombstone }) => tombstone?.originalEventId ?? "",
  tombstone_original_digest: ({ tombstone }) => (tombstone ? toHex(tombstone.originalDigest) : ""),
  tombstone_reason: ({ tombstone }) => tombstone?.reason ?? "",
  reconciliation_source: ({ reconciliation }) => reconciliation?.source ?? "",
  reconciliation_tree_size: ({ reconciliation }) => reconciliation?.treeSize ?? "",
  reconciliation_root_hash: ({ reconciliation }) => (reconciliation ? toHex(reconciliation.rootHash) : ""),
  reconciliation_entry_count: ({ reconciliation }) => reconciliation?.entryCount ?? "",
  reconciliation_entries_digest: ({ reconciliation }) =>
    reconciliation ? toHex(reconciliation.entriesDigest) : "",
  digest: (_, { digest }) => toHex(digest),
};

const lineEnd = "\r\n";

/** A table as RFC 4180 has it: a header line, lines that end in CRLF, UTF-8. */
export const csv: EventWriter = {
  format: "csv",
  header: Object.keys(columns).join(",") + lineEnd,
  toLine: (stored) => {
    const event = fromBinary(EventSchema, stored.bytes);
    return (
      Object.values(columns)
        .map((column) => toCell(column(event, stored)))
        .join(",") + lineEnd
    );
  },
  toFooter: () => "",
};

/** Spreadsheets take a cell that begins so for a formula; the wide forms of the signs, too. */
const formula = /^['=+\-@\t\r\n＝＋－＠]/;

/**
 * Text that could pass for a formula, or that begins with an apostrophe, gets an apostrophe before it: whoever takes one leading
 * apostrophe away has what the event says.
 */
function toCell(value: string | number | bigint): string {
  if (typeof value !== "string") return String(value);
  const harmless = formula.test(value) ? `'${value}` : value;
  return /[",\r\n]|^\s|\s$/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}
