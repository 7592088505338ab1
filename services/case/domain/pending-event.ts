/** One event that waits for delivery. */
export interface PendingEvent {
  readonly tenantId: string;
  readonly eventId: string;
  readonly caseId: string;
  readonly version: number;
  readonly traceparent: string;
  /** The bytes as they were made in the transition. */
  readonly event: Uint8Array;
}
