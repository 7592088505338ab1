import { createHash, randomUUID } from "node:crypto";
import { v7 } from "uuid";
import type { Candidate } from "#services/audit/store/append-events.ts";
import { auditTenant } from "./audit-service.ts";

/** A subject's first event as the audit store takes it; its bytes are just its id. */
export function makeCandidate(tenantId = auditTenant): Candidate {
  const [eventId, subject] = [v7(), randomUUID()];
  const bytes = Buffer.from(eventId);
  const digest = createHash("sha256").update(bytes).digest("hex");
  const judged = { eventId, source: "a/b", subject, sequence: 1n, previousDigest: "" };
  return {
    ...judged,
    bytes,
    digest,
    linkDigest: digest,
    event: {
      ...judged,
      originalDigest: "",
      type: "a.b.c",
      tenantId,
      actorId: "ada",
      onBehalfOf: "",
      requestId: "",
      correlationId: "",
      traceparent: "",
      occurredAtMicros: 0n,
      recordedAtMicros: 0n,
    },
  };
}
