import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { HistoryEntrySchema, type HistoryEntry } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { ActorKind, EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import type { EventFacts, EventPlace } from "../application/event-facts.ts";
import type { HistoryItem } from "../application/read-cases.ts";
import { toActionMessage, toStateMessage } from "./messages.ts";

/** Who tells the events of this service. */
export const eventSource = "caseflow/case";
const schemaVersion = 1;

const kinds = { person: ActorKind.PERSON, service: ActorKind.SERVICE } as const;

/** Makes an event's bytes. Called once an event, in the making of the transition; nobody encodes it again. */
export function encodeEvent(facts: EventFacts): Uint8Array {
  const event = create(EventSchema, {
    eventId: facts.eventId,
    source: eventSource,
    type: facts.type,
    schemaVersion,
    tenantId: facts.tenantId,
    subject: facts.subject,
    subjectSequence: BigInt(facts.sequence),
    previousDigest: facts.previousDigest ?? new Uint8Array(),
    actor: {
      id: facts.actor.id,
      kind: kinds[facts.actor.kind],
      roles: [...facts.actor.roles],
      onBehalfOf: facts.actor.onBehalfOf,
    },
    fromState: facts.fromState ?? "",
    toState: facts.toState,
    reason: facts.reason,
    decisionHash: facts.decisionHash ?? new Uint8Array(),
    contentCommitment: facts.contentCommitment ?? new Uint8Array(),
    policyVersion: facts.policyVersion,
    requestId: facts.requestId,
    correlationId: facts.correlationId,
    traceparent: facts.traceparent,
    occurredAt: timestampFromDate(facts.occurredAt),
    recordedAt: timestampFromDate(facts.recordedAt),
    assigneeId: facts.assigneeId,
    legalAuthority: facts.legalAuthority,
    subjectType: facts.subjectType,
    reviewRound: facts.reviewRound,
    approvalsRequired: facts.approvalsRequired,
    appealWindowDays: facts.appealWindowDays,
    aboutEventIds: [...(facts.aboutEventIds ?? [])],
    ...(facts.tombstone && { tombstone: { ...facts.tombstone } }),
  });
  return toBinary(EventSchema, event);
}

/** Reads what an event is about out of its stored bytes; `undefined` where those are damaged. */
export function readSubject(event: Uint8Array): string | undefined {
  try {
    return fromBinary(EventSchema, event).subject || undefined;
  } catch {
    return undefined;
  }
}

/** Reads where an event stands out of its stored bytes. */
export function readPlace(bytes: Uint8Array): EventPlace {
  const { subject, subjectType, subjectSequence, fromState, toState, previousDigest } = fromBinary(
    EventSchema,
    bytes,
  );
  return { subject, subjectType, sequence: Number(subjectSequence), fromState, toState, previousDigest };
}

/** A history entry, read out of the event's stored bytes. */
export function toHistoryEntry(item: HistoryItem): HistoryEntry {
  const event = fromBinary(EventSchema, item.event);
  return create(HistoryEntrySchema, {
    version: item.version,
    action: toActionMessage(item.action),
    fromState: toStateMessage(event.fromState),
    toState: toStateMessage(event.toState),
    actor: {
      id: event.actor?.id ?? "",
      kind: event.actor?.kind ?? ActorKind.UNSPECIFIED,
      roles: event.actor?.roles ?? [],
      onBehalfOf: event.actor?.onBehalfOf ?? "",
    },
    reason: event.reason,
    legalAuthority: event.legalAuthority,
    assigneeId: event.assigneeId,
    policyVersion: event.policyVersion,
    decisionHash: event.decisionHash,
    contentCommitment: event.contentCommitment,
    requestId: event.requestId,
    occurredAt: event.occurredAt!,
    recordedAt: event.recordedAt!,
    eventId: event.eventId,
    eventDigest: item.eventDigest,
    eventType: event.type,
    approvalsRequired: event.approvalsRequired,
    reviewRound: event.reviewRound,
  });
}
