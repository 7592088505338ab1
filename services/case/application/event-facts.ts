import type { Action, Case } from "../domain/case.ts";

/** Who did it, as the verified token of the call says. */
export interface Actor {
  readonly id: string;
  readonly kind: "person" | "service";
  /** Sorted. */
  readonly roles: readonly string[];
  /** Empty when for nobody else. */
  readonly onBehalfOf: string;
}

/** Everything an event tells; its encoding is made once, where the wire format is known. */
export interface EventFacts {
  readonly eventId: string;
  readonly tenantId: string;
  readonly next: Case;
  readonly action: Action;
  readonly happened: string;
  readonly fromState: string | undefined;
  readonly previousDigest: Uint8Array | undefined;
  readonly actor: Actor;
  readonly reason: string;
  readonly assigneeId: string;
  /** Present when the action decides. */
  readonly decisionHash: Uint8Array | undefined;
  readonly requestId: string;
  readonly correlationId: string;
  /** Empty when the call was not traced. */
  readonly traceparent: string;
  readonly recordedAt: Date;
}
