/** Who did it, as the verified token of the call says, and for whom. */
export interface Actor {
  readonly id: string;
  readonly kind: "person" | "service";
  /** Sorted. */
  readonly roles: readonly string[];
  /** Empty when for nobody else. Of an imported action, who acted in the system that it comes from. */
  readonly onBehalfOf: string;
}

/** Everything an event tells; its encoding is made once, where the wire format is known. */
export interface EventFacts {
  readonly eventId: string;
  /** `domain.entity.action`. */
  readonly type: string;
  readonly tenantId: string;
  readonly subject: string;
  readonly subjectType: string;
  /** From 1, without a gap in the subject. */
  readonly sequence: number;
  readonly fromState: string | undefined;
  readonly toState: string;
  readonly previousDigest: Uint8Array | undefined;
  readonly actor: Actor;
  readonly reason: string;
  readonly legalAuthority: string;
  readonly assigneeId: string;
  /** Present when the action decides. */
  readonly decisionHash: Uint8Array | undefined;
  /** Absent where the subject has no content. */
  readonly contentCommitment: Uint8Array | undefined;
  readonly reviewRound: number;
  readonly policyVersion: number;
  /** 0 where no approval is at stake. */
  readonly approvalsRequired: number;
  /** 0 but for an event that sets a policy. */
  readonly appealWindowDays: number;
  /** Of an act on other events, their ids. */
  readonly aboutEventIds?: readonly string[];
  /** Present when the event stands in for one that could not be delivered. */
  readonly tombstone?: {
    readonly originalDigest: Uint8Array;
    readonly originalEventId: string;
    readonly reason: string;
  };
  readonly requestId: string;
  readonly correlationId: string;
  /** Empty when the call was not traced. */
  readonly traceparent: string;
  readonly occurredAt: Date;
  readonly recordedAt: Date;
}

/** Where an event stands in its subject's history, as its bytes tell. */
export type EventPlace = Pick<
  EventFacts,
  "subject" | "subjectType" | "sequence" | "fromState" | "toState" | "previousDigest"
>;
