import { laneOf } from "../domain/lane.ts";
import { findEntries, saveRequeue, type FoundEntryRow } from "../store/requeue.ts";
import {
  answerKeptMs,
  applyOnce,
  type WriteDependencies,
  type WriteRequest,
  type WriteResult,
} from "./apply-once.ts";
import { sha256 } from "./sha256.ts";

export interface RequeueRequest extends WriteRequest {
  /** In lower case, each once. */
  readonly eventIds: readonly string[];
  /** The answer's bytes for the events that wait now. */
  readonly encodeAnswer: (eventIds: readonly string[]) => Uint8Array;
}

/**
 * Queues entries for delivery again, whether they were delivered or not: what the audit service has is a duplicate there. Of an
 * entry that was skipped this is the tombstone, as the log has it.
 *
 * What is no entry of the tenant's is passed over, and so is a dead letter: delivery gave it up for a reason, and it stays until
 * somebody redrives or skips it. Other entries of its case are queued, and wait behind it. Nothing is lost should an event become a
 * dead letter while it is queued here: the relay delivers nothing of a case that has one.
 */
export type RequeueEntries = (request: RequeueRequest) => Promise<WriteResult>;

export function createRequeueEntries(dependencies: WriteDependencies): RequeueEntries {
  return (request) => {
    const { tenantId, eventIds, actor, requestId, requestHash } = request;
    return applyOnce(dependencies, request, findEntries(tenantId, eventIds), ({ rows }, at) => {
      const living = new Set(
        (rows as FoundEntryRow[]).filter(({ dead }) => !dead).map((row) => row.event_id),
      );
      const queued = eventIds.filter((eventId) => living.has(eventId));
      const answer = request.encodeAnswer(queued);
      const statement = saveRequeue({
        ...{ tenantId, eventIds: queued, principalId: actor.id, requestId, requestHash, answer },
        lane: laneOf(sha256(Buffer.from(tenantId, "utf8"))),
        answerExpiresAt: new Date(at.getTime() + answerKeptMs),
      });
      return { statement, answer, fromVersion: 0, planEachTime: true };
    });
  };
}
