import { type LoggedEvent, toHex } from "./read-event.ts";

/**
 * What the events of a case have told so far, as far as a rule asks for it. Plain data: it is kept as JSON.
 *
 * An absent fact means that it never was, unless an event is hidden behind a tombstone: then it may have been, and nothing
 * is concluded from its absence. People are the acting persons.
 */
export interface CaseFacts {
  /** How many events are hidden behind tombstones. */
  readonly hiddenCount: number;
  /** Absent before the first event. */
  readonly state?: string;
  /** Absent right behind a tombstone, as are the others that any event could have changed. */
  readonly contentCommitment?: string;
  readonly reviewRound?: number;
  readonly onHold?: boolean;
  readonly erased?: boolean;
  readonly lastOccurredAtMs?: number;
  readonly subjectType?: string;
  readonly policyVersion?: number;
  readonly approvalsRequired?: number;
  readonly creatorId?: string;
  readonly submitterId?: string;
  readonly assignedReviewerId?: string;
  readonly reviewStarterId?: string;
  /** The version at which the first review started. */
  readonly reviewVersion?: number;
  readonly approverIds: readonly string[];
  readonly rejecterId?: string;
  readonly decidedAtMs?: number;
  readonly overriddenAtMs?: number;
  readonly proposal?: OverrideProposal | undefined;
  readonly appellantId?: string;
  readonly appealReviewerId?: string;
  readonly appealReviewVersion?: number;
}

export interface OverrideProposal {
  readonly proposerId: string;
  /** Of reason and legal authority, which are compared letter by letter. */
  readonly wordsDigest: string;
}

export const noFacts: CaseFacts = { hiddenCount: 0, approverIds: [] };

/** The facts behind a tombstone: where the case stands is told, and what else the hidden event could have changed is not known any more. */
export function hideOne(facts: CaseFacts, { event }: LoggedEvent): CaseFacts {
  const {
    contentCommitment: _commitment,
    reviewRound: _round,
    onHold: _onHold,
    erased: _erased,
    lastOccurredAtMs: _occurred,
    assignedReviewerId: _assigned,
    overriddenAtMs: _overridden,
    proposal: _proposal,
    ...lasting
  } = facts;
  return { ...lasting, state: event.toState, hiddenCount: facts.hiddenCount + 1 };
}

/** Whether it is certain that `fact` is not `value`. */
export function differs<T>(facts: CaseFacts, fact: T | undefined, value: T): boolean {
  return fact === undefined ? facts.hiddenCount === 0 : fact !== value;
}

/** What every event of a case tells, whatever happened. */
export function followCommon(facts: CaseFacts, logged: LoggedEvent): CaseFacts {
  const { event, occurredAtMs } = logged;
  return {
    ...facts,
    state: event.toState,
    contentCommitment: toHex(event.contentCommitment),
    reviewRound: event.reviewRound,
    lastOccurredAtMs: occurredAtMs,
    subjectType: event.subjectType,
    policyVersion: event.policyVersion,
    ...(event.approvalsRequired > 0 && { approvalsRequired: event.approvalsRequired }),
  };
}
