import type { Breach } from "./breach.ts";
import { type CaseFacts, differs } from "./case-facts.ts";
import { quote } from "./fault.ts";
import type { Context } from "./rules-steps.ts";

export function judgeAssignment({ facts, logged }: Context): Breach | undefined {
  const { assigneeId } = logged.event;
  if (assigneeId === "") return { what: "A reviewer was assigned, and nobody is named." };
  if (assigneeId !== facts.submitterId) return undefined;
  return {
    what: `${quote(assigneeId)} was named the reviewer of a case that ${quote(assigneeId)} had submitted.`,
    expected: "a reviewer who is not the submitter",
    found: quote(assigneeId),
  };
}

export function followAssignment({ logged }: Context): Partial<CaseFacts> {
  return { assignedReviewerId: logged.event.assigneeId };
}

export function judgeReviewStart({ facts, person }: Context): Breach | undefined {
  if (!differs(facts, facts.assignedReviewerId, person)) return undefined;
  return {
    what: "Somebody else than the assigned reviewer started the review.",
    expected: quote(facts.assignedReviewerId ?? "a reviewer who was assigned before"),
    found: quote(person),
  };
}

export function followReviewStart({ logged, person }: Context): Partial<CaseFacts> {
  return { reviewStarterId: person, reviewVersion: Number(logged.event.subjectSequence) };
}

/** One approval a person, none of the submitter's, as many as are required; with two, the last is not by whoever started the review. */
export function judgeApproval(context: Context): Breach | undefined {
  const { facts, logged, person } = context;
  const { type, approvalsRequired } = logged.event;
  if (person === facts.submitterId) return selfDecided(person, "approved");
  if (facts.approverIds.includes(person)) {
    return {
      what: `${quote(person)} approved the same case twice.`,
      expected: "approvals by different people",
      found: `a second one of ${quote(person)}`,
    };
  }
  const count = facts.approverIds.length + 1;
  const decides = type === "caseflow.case.approved";
  if (decides && approvalsRequired > 1 && person === facts.reviewStarterId) {
    return {
      what: `${quote(person)} started the review, and gave the approval that decided it.`,
      expected: "a last approval by somebody else",
      found: quote(person),
    };
  }
  const tooFew = decides && count + facts.hiddenCount < approvalsRequired;
  const tooMany = !decides && count >= approvalsRequired;
  if (!tooFew && !tooMany) return undefined;
  return {
    what: tooFew
      ? "The case was approved by fewer people than it takes."
      : "The case has its approvals and was not decided.",
    expected: `approved with ${approvalsRequired} of ${approvalsRequired} approvals`,
    found: `${decides ? "approved" : "not decided"} with ${count}`,
  };
}

export function followApproval({ facts, logged, person }: Context): Partial<CaseFacts> {
  const approverIds = [...facts.approverIds.slice(0, 1), person];
  const decides = logged.event.type === "caseflow.case.approved";
  return { approverIds, ...(decides && { decidedAtMs: logged.occurredAtMs }) };
}

/** Whoever has approved may still come to another view. */
export function judgeRejection({ facts, person }: Context): Breach | undefined {
  return person === facts.submitterId ? selfDecided(person, "rejected") : undefined;
}

export function followRejection({ logged, person }: Context): Partial<CaseFacts> {
  return { rejecterId: person, decidedAtMs: logged.occurredAtMs };
}

export function selfDecided(person: string, deed: string): Breach {
  return {
    what: `${quote(person)} ${deed} a case that ${quote(person)} had submitted.`,
    expected: "somebody who is not the submitter",
    found: `${quote(person)}, the submitter`,
  };
}
