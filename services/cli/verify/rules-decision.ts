import { hash } from "node:crypto";

import type { Breach } from "./breach.ts";
import { toHex } from "./read-event.ts";
import type { Context, Step } from "./rules-steps.ts";

/** A decision carries the hash of what it decides and how many must approve; another event carries neither. */
export function findDecisionBreach({ decides }: Step, { facts, logged }: Context): Breach | undefined {
  const { tenantId, subject, contentCommitment, decisionHash, approvalsRequired } = logged.event;
  const found = toHex(decisionHash);
  if (!decides) {
    if (found === "" && approvalsRequired === 0) return undefined;
    return { what: "The event decides nothing, and carries what only a decision carries." };
  }
  if (approvalsRequired !== 1 && approvalsRequired !== 2) {
    return {
      what: "The number of approvals required is none.",
      expected: "1 or 2",
      found: String(approvalsRequired),
    };
  }
  if (facts.approvalsRequired !== undefined && facts.approvalsRequired !== approvalsRequired) {
    return {
      what: "The number of approvals required changed within the case.",
      expected: String(facts.approvalsRequired),
      found: String(approvalsRequired),
    };
  }
  const reviewVersion = decides === "review" ? facts.reviewVersion : facts.appealReviewVersion;
  if (reviewVersion === undefined) {
    return facts.hiddenCount > 0 ? undefined : { what: "There is a decision, and no review was started." };
  }
  const expected = decisionHashOf(tenantId, subject, reviewVersion, toHex(contentCommitment));
  if (found === expected) return undefined;
  return {
    what: "The decision is about something else than what was under review.",
    expected,
    found: found || "none",
  };
}

/**
 * SHA-256 over the lines `caseflow decision v1`, tenant, case id, the version at which the review started, and the content
 * commitment in lower-case hex, each ended by a line feed.
 */
function decisionHashOf(tenantId: string, caseId: string, reviewVersion: number, commitment: string): string {
  return hash(
    "sha256",
    `caseflow decision v1\n${tenantId}\n${caseId}\n${reviewVersion}\n${commitment}\n`,
    "hex",
  );
}
