import { createHash } from "node:crypto";

/**
 * What a decision decided: SHA-256 over the lines `caseflow decision v1`, tenant, case id, the version at which the review
 * started, and the content commitment in lower-case hex, each ended by a line feed. None of the parts can hold one.
 */
export function decisionHash(
  tenantId: string,
  caseId: string,
  reviewVersion: number,
  contentCommitment: Uint8Array,
): Uint8Array {
  const commitment = Buffer.from(contentCommitment).toString("hex");
  return createHash("sha256")
    .update(`caseflow decision v1\n${tenantId}\n${caseId}\n${reviewVersion}\n${commitment}\n`)
    .digest();
}
