import type { Case, CaseState } from "./case.ts";
import type { Circumstances } from "./command.ts";
import type { Refusal } from "./reason.ts";

export interface Accepted {
  readonly accepted: true;
  readonly next: Case;
  /** Past tense of what happened: `caseflow.case.<happened>` is the event's type. */
  readonly happened: string;
  /** Why, in the actor's words; empty where none was given. */
  readonly reason: string;
  /** The law invoked; empty where none is asked for. */
  readonly legalAuthority: string;
  /** The principal it is about; empty where there is none. */
  readonly assigneeId: string;
  /** When it happened. */
  readonly occurredAt: Date;
  /** The version at which the review began whose matter this decides, or helps to decide. */
  readonly decidesReviewAt: number | undefined;
  /** The earlier step that it completes: of an override the proposal, of an appeal's decision the start of its review. */
  readonly completes: { readonly version: number; readonly personId: string } | undefined;
  /** True when the same person has spoken on the decision of this case before, and may again. */
  readonly spokeBefore: boolean;
}

export interface Refused {
  readonly accepted: false;
  readonly reason: Refusal;
  readonly metadata: Readonly<Record<string, string>>;
}

export type Decision = Accepted | Refused;

export interface Outcome {
  readonly happened: string;
  readonly to: CaseState;
  readonly reason?: string;
  readonly legalAuthority?: string;
  readonly assigneeId?: string;
  readonly decidesReviewAt?: number | undefined;
  readonly completes?: Accepted["completes"];
  readonly spokeBefore?: boolean;
  readonly change?: Partial<Case>;
}

/** The transition from `current` to the case with `outcome.change`, one version on. */
export function accept(current: Case, by: Circumstances, outcome: Outcome): Accepted {
  const occurredAt = occurredAtOf(by);
  return {
    accepted: true,
    next: {
      ...current,
      ...outcome.change,
      state: outcome.to,
      version: current.version + 1,
      updatedAt: by.at,
      occurredAt,
    },
    happened: outcome.happened,
    reason: outcome.reason ?? "",
    legalAuthority: outcome.legalAuthority ?? "",
    assigneeId: outcome.assigneeId ?? "",
    occurredAt,
    decidesReviewAt: outcome.decidesReviewAt,
    completes: outcome.completes,
    spokeBefore: outcome.spokeBefore ?? false,
  };
}

export function refuse(reason: Refusal, metadata: Readonly<Record<string, string>> = {}): Refused {
  return { accepted: false, reason, metadata };
}

export function invalidTransition(state: CaseState | "none", action: string): Refused {
  return refuse("INVALID_TRANSITION", { state, action });
}

export function occurredAtOf({ at, reportedAt }: Circumstances): Date {
  return reportedAt ?? at;
}

export function isBlank(text: string): boolean {
  return text.trim() === "";
}
