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

export interface Case {
  /** UUID, lower case. */
  readonly id: string;
  readonly type: string;
  /** Empty when none was given. */
  readonly externalReference: string;
  readonly state: CaseState;
  /** Accepted transitions so far, from 1, without a gap. */
  readonly version: number;
  readonly content: Content;
  /** How often the content was written, from 1. */
  readonly contentVersion: number;
  /** SHA-256 of the content version's salt and bytes: what events carry in the content's stead. */
  readonly contentCommitment: Uint8Array;
  readonly creatorId: string;
  readonly submitterId: string | undefined;
  readonly assignedReviewerId: string | undefined;
  /** Who began the review at hand. */
  readonly reviewStartedById: string | undefined;
  /** The version at which the review at hand started: part of what a decision decides. */
  readonly reviewVersion: number | undefined;
  /** Counts reviews, from 1; 0 before the first. */
  readonly reviewRound: number;
  /** Who approved in the first review, in order. */
  readonly approverIds: readonly string[];
  readonly rejecterId: string | undefined;
  /** 0 is the built-in policy. */
  readonly policyVersion: number;
  /** How many distinct people must approve. */
  readonly approvalsRequired: 1 | 2;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  /** When the first review was decided. */
  readonly decidedAt: Date | undefined;
}

/** The rules that cases of a type are judged under, fixed when a case is created. */
export interface Policy {
  readonly version: number;
  readonly approvalsRequired: 1 | 2;
}

/** What holds where an organisation has set nothing else. */
export const builtInPolicy: Policy = { version: 0, approvalsRequired: 1 };
