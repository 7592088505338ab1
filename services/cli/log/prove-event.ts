import type { AuditClient } from "#libs/client/audit-client.ts";
import { formatTlogProof } from "#libs/merkle/tlog-proof.ts";

/** The proof of one event as a C2SP tlog-proof, with the event's bytes as its extra data. What it says is not judged. */
export async function proveEvent(audit: AuditClient, eventId: string): Promise<string> {
  const { event } = await audit.getEvent({ eventId });
  const { leafIndex, hashes, checkpoint } = await audit.getInclusionProof({
    target: { case: "eventId", value: eventId },
  });
  return formatTlogProof({
    index: Number(leafIndex),
    hashes,
    checkpoint,
    extra: event?.eventBytes ?? new Uint8Array(),
  });
}
