export const caseStates = [
  "draft",
  "submitted",
  "under_review",
  "approved",
  "rejected",
  "appealed",
  "appeal_under_review",
  "appeal_approved",
  "appeal_rejected",
  "closed",
] as const;
export type CaseState = (typeof caseStates)[number];

export const actions = [
  "create",
  "update",
  "submit",
  "assign_reviewer",
  "start_review",
  "approve",
  "reject",
  "appeal",
  "start_appeal_review",
  "approve_appeal",
  "reject_appeal",
  "override",
  "close",
  "place_hold",
  "release_hold",
  "erase",
] as const;
export type Action = (typeof actions)[number];

export type Role = "caseworker" | "reviewer" | "supervisor" | "operator";

export interface Person {
  readonly name: string;
  readonly role: string;
  readonly contact: string;
}

/** What a case says; never part of an event. */
export interface Content {
  readonly title: string;
  readonly summary: string;
  readonly people: readonly Person[];
}

/** An appeal against the decision of a case; a case has one at most. */
export interface Appeal {
  readonly appellantId: string;
  /** When the appeal was made, as it happened. */
  readonly appealedAt: Date;
  /** Who reviews it; `undefined` before somebody began. */
  readonly reviewerId: string | undefined;
  /** The version at which that review began. */
  readonly reviewVersion: number | undefined;
  readonly outcome: AppealOutcome | undefined;
  /** When it was decided, as it happened. */
  readonly decidedAt: Date | undefined;
}
export type AppealOutcome = "appeal_approved" | "appeal_rejected";

/** The first half of an override, which waits for a second supervisor. */
export interface OverrideProposal {
  readonly proposerId: string;
  readonly target: DecisionState;
  readonly reason: string;
  readonly legalAuthority: string;
  /** The version of the case that the proposal made. */
  readonly version: number;
}
export type DecisionState = "approved" | "rejected";

/** People are named by whom they are, also where another program did it on their behalf. */
export interface Case {
  /** UUID, lower case. */
  readonly id: string;
  readonly type: string;
  /** Empty when none was given. */
  readonly externalReference: string;
  readonly state: CaseState;
  /** Accepted transitions so far, from 1, without a gap. */
  readonly version: number;
  /** `undefined` once it was erased. */
  readonly content: Content | undefined;
  /** How often the content was written, from 1. */
  readonly contentVersion: number;
  /** SHA-256 of the content version's salt and bytes: what events carry in the content's stead. */
  readonly contentCommitment: Uint8Array;
  readonly creatorId: string;
  readonly submitterId: string | undefined;
  /** The version of the submission. */
  readonly submittedVersion: number | undefined;
  readonly assignedReviewerId: string | undefined;
  /** Who began the first review. */
  readonly reviewStartedById: string | undefined;
  /** The version at which the first review started: part of what a decision decides. */
  readonly reviewVersion: number | undefined;
  /** Counts reviews, from 1; 0 before the first. */
  readonly reviewRound: number;
  /** Who approved in the first review, in order. */
  readonly approverIds: readonly string[];
  readonly rejecterId: string | undefined;
  readonly overrideProposal: OverrideProposal | undefined;
  /** Who made the last override: nobody, or proposer and second. */
  readonly overriderIds: readonly string[];
  /** Everybody who ever proposed an override or carried one out, each once. */
  readonly overrideSpeakerIds: readonly string[];
  readonly appeal: Appeal | undefined;
  /** A held case is not erased. */
  readonly onHold: boolean;
  readonly erased: boolean;
  /** 0 is the built-in policy. */
  readonly policyVersion: number;
  /** How many distinct people must approve. */
  readonly approvalsRequired: 1 | 2;
  /** For how many days after a decision it may be appealed. 0: it may not. */
  readonly appealWindowDays: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  /** When the latest transition happened, which for an imported one is not when it was recorded. */
  readonly occurredAt: Date;
  /** When the first review was decided, as it happened. */
  readonly decidedAt: Date | undefined;
  /** When the decision was last overridden, as it happened. */
  readonly overriddenAt: Date | undefined;
}

/** The rules that cases of a type are judged under, fixed when a case is created. */
export interface Policy {
  readonly version: number;
  readonly approvalsRequired: 1 | 2;
  /** 0 to 3,650. 0: a decision cannot be appealed. */
  readonly appealWindowDays: number;
}

/** What holds where an organisation has set nothing else. */
export const builtInPolicy: Policy = { version: 0, approvalsRequired: 1, appealWindowDays: 30 };
