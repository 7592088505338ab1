import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";

import type { AuditClient } from "#libs/client/audit-client.ts";
import type { AuditedEvent } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";

const arrivalTimeoutMs = 10_000;
const pageSize = 500;

/**
 * Reads every event of `subject`, in order, once its `lastSequence` has arrived: delivery happens after the change and
 * takes a moment. Throws when it has not arrived within ten seconds.
 */
export async function readTrail(
  audit: AuditClient,
  subject: string,
  lastSequence: number,
): Promise<readonly AuditedEvent[]> {
  const until = performance.now() + arrivalTimeoutMs;
  for (let pauseMs = 10; ; pauseMs = Math.min(2 * pauseMs, 500)) {
    const { events } = await audit.listEvents({ filter: { subject }, pageSize });
    if (Number(events.at(-1)?.event?.subjectSequence ?? 0) >= lastSequence) return events;
    if (performance.now() > until) {
      throw new Error(`of ${lastSequence} events only ${events.length} reached the audit service in time`);
    }
    await delay(pauseMs);
  }
}

/**
 * Checks what anybody can check who holds the events: the digest is that of the bytes, sequences have no gap, and each
 * event names the digest of the one before it, or of the one that a tombstone before it stands in for. Returns what is wrong;
 * `undefined` when all is well.
 */
export function findBreak(events: readonly AuditedEvent[]): string | undefined {
  let previous = Buffer.alloc(0);
  for (const [index, { event, eventBytes, digest }] of events.entries()) {
    const computed = createHash("sha256").update(eventBytes).digest();
    if (!computed.equals(digest)) return `the digest of event ${index + 1} is not that of its bytes`;
    if (Number(event?.subjectSequence) !== index + 1) return `event ${index + 1} is missing`;
    if (!previous.equals(event?.previousDigest ?? new Uint8Array())) {
      return `event ${index + 1} does not name the digest of the one before it`;
    }
    previous = event?.tombstone ? Buffer.from(event.tombstone.originalDigest) : computed;
  }
  return undefined;
}
