import { laneOf } from "../domain/lane.ts";
import type { NewEntry } from "../store/new-entry.ts";
import { answerKeptMs, type WriteDependencies, type WriteRequest } from "./apply-once.ts";
import type { EventFacts } from "./event-facts.ts";
import { nextEventId } from "./event-id.ts";
import { sha256 } from "./sha256.ts";

/** The event that the next one of the same subject must link to. */
export interface LatestEvent {
  readonly id: string;
  /** SHA-256 of its bytes. */
  readonly digest: Uint8Array;
}

type FromRequest =
  | "eventId"
  | "tenantId"
  | "actor"
  | "requestId"
  | "correlationId"
  | "traceparent"
  | "previousDigest"
  | "recordedAt";

/** Makes every byte of an audit entry: the event, its id and digest, and the recorded answer. */
export function sealEntry(
  { encodeEvent }: Pick<WriteDependencies, "encodeEvent">,
  request: WriteRequest,
  at: Date,
  latest: LatestEvent | undefined,
  facts: Omit<EventFacts, FromRequest>,
  entry: Pick<NewEntry, "action" | "spokeBefore" | "completes" | "answer">,
): NewEntry {
  const { tenantId, actor, requestId, requestHash, correlationId, traceparent } = request;
  const eventId = nextEventId(at, latest?.id);
  const event = encodeEvent({
    ...facts,
    eventId,
    tenantId,
    actor,
    requestId,
    correlationId,
    traceparent,
    previousDigest: latest?.digest,
    recordedAt: at,
  });
  return {
    ...entry,
    tenantId,
    fromState: facts.fromState,
    principalId: actor.id,
    onBehalfOf: actor.onBehalfOf === "" ? undefined : actor.onBehalfOf,
    requestId,
    requestHash,
    answerExpiresAt: new Date(at.getTime() + answerKeptMs),
    eventId,
    event,
    eventDigest: sha256(event),
    recordedAt: at,
    lane: laneOf(sha256(Buffer.from(tenantId, "utf8"))),
    traceparent,
  };
}
