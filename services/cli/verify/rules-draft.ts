import type { Breach } from "./breach.ts";
import { type CaseFacts, differs } from "./case-facts.ts";
import { quote } from "./fault.ts";
import type { Context } from "./rules-steps.ts";

export function followCreation({ person }: Context): Partial<CaseFacts> {
  return { creatorId: person, onHold: false, erased: false };
}

export function followSubmission({ person }: Context): Partial<CaseFacts> {
  return { submitterId: person };
}

/** An erased draft stays as it is, and only its creator changes a draft. */
export function judgeDraft({ facts, logged, person }: Context): Breach | undefined {
  if (facts.erased === true)
    return { what: "The content of the case was erased, and yet the draft went on." };
  if (logged.event.type !== "caseflow.case.updated" || !differs(facts, facts.creatorId, person))
    return undefined;
  return {
    what: `${quote(person)} changed a draft of somebody else's.`,
    expected: quote(facts.creatorId ?? "its creator"),
    found: quote(person),
  };
}
