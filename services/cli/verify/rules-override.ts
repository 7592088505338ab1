import { hash } from "node:crypto";

import type { Breach } from "./breach.ts";
import type { CaseFacts } from "./case-facts.ts";
import { quote } from "./fault.ts";
import type { LoggedEvent } from "./read-event.ts";
import { selfDecided } from "./rules-review.ts";
import type { Context } from "./rules-steps.ts";

/** Words that were proposed already are agreed to, by another person, and not proposed again. */
export function judgeProposal({ facts, logged, person }: Context): Breach | undefined {
  if (person === facts.submitterId) return selfDecided(person, "proposed to override the decision of");
  if (facts.proposal?.wordsDigest !== wordsDigestOf(logged)) return undefined;
  return {
    what: "The same override was proposed twice.",
    expected: "other words, or an agreement by a second supervisor",
    found: `${quote(person)} after ${quote(facts.proposal.proposerId)}, in the same words`,
  };
}

export function followProposal({ logged, person }: Context): Partial<CaseFacts> {
  return { proposal: { proposerId: person, wordsDigest: wordsDigestOf(logged) } };
}

/** Two supervisors with the same target, reason and authority; the target is the other decision, so it is the same by itself. */
export function judgeOverride({ facts, logged, person }: Context): Breach | undefined {
  if (person === facts.submitterId) return selfDecided(person, "overrode the decision of");
  const { proposal } = facts;
  if (!proposal) {
    return facts.hiddenCount > 0
      ? undefined
      : { what: "A decision was overridden that nobody had proposed to override." };
  }
  if (proposal.proposerId === person) {
    return {
      what: `${quote(person)} proposed an override and carried it out alone.`,
      expected: "a second supervisor",
      found: quote(person),
    };
  }
  if (proposal.wordsDigest === wordsDigestOf(logged)) return undefined;
  return {
    what: "The override was carried out with another reason or legal authority than was proposed.",
    expected: `the words of ${quote(proposal.proposerId)}`,
    found: `${quote(logged.event.reason)} (${quote(logged.event.legalAuthority)})`,
  };
}

export function followOverride({ logged }: Context): Partial<CaseFacts> {
  return { overriddenAtMs: logged.occurredAtMs, proposal: undefined };
}

function wordsDigestOf({ event }: LoggedEvent): string {
  return hash("sha256", JSON.stringify([event.reason, event.legalAuthority]), "hex");
}
