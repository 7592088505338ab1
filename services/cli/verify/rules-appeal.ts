import type { Breach } from "./breach.ts";
import { type CaseFacts, differs } from "./case-facts.ts";
import { quote } from "./fault.ts";
import type { Context } from "./rules-steps.ts";

/** An appeal ends a proposal to override. */
export function followAppeal({ person }: Context): Partial<CaseFacts> {
  return { appellantId: person };
}

/** Only somebody who took no part in what is appealed. */
export function judgeAppealReview(context: Context): Breach | undefined {
  const { person } = context;
  const part = partOf(context);
  if (part === undefined) return undefined;
  return {
    what: `${quote(person)} took up the review of an appeal after having had a part in the case.`,
    expected: "a reviewer who had no part",
    found: `${quote(person)}, ${part}`,
  };
}

export function followAppealReview({ logged, person }: Context): Partial<CaseFacts> {
  return { appealReviewerId: person, appealReviewVersion: Number(logged.event.subjectSequence) };
}

export function judgeAppealDecision({ facts, person }: Context): Breach | undefined {
  if (!differs(facts, facts.appealReviewerId, person)) return undefined;
  return {
    what: "Somebody else than whoever reviewed the appeal decided it.",
    expected: quote(facts.appealReviewerId ?? "whoever started the review of the appeal"),
    found: quote(person),
  };
}

function partOf({ facts, person, hasOverridden }: Context): string | undefined {
  if (person === facts.submitterId) return "who submitted it";
  if (person === facts.appellantId) return "who appealed";
  if (person === facts.assignedReviewerId) return "its assigned reviewer";
  if (person === facts.reviewStarterId) return "who started its review";
  if (facts.approverIds.includes(person)) return "who approved it";
  if (person === facts.rejecterId) return "who rejected it";
  return hasOverridden(person) ? "who took part in an override" : undefined;
}
