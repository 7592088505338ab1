/** The methods that give audit data. */
export type AccessMethod = "GetEvent" | "ListEvents" | "TailEvents" | "ExportEvents" | "ListAccesses";

/** Who reads, from the verified token. */
export interface AuditPrincipal {
  readonly id: string;
  readonly kind: "person" | "service";
  /** Empty: for nobody else. */
  readonly onBehalfOf: string;
  /** Sorted. */
  readonly roles: readonly string[];
}

/** One reading of audit data, or the beginning or the end of one that took a while. */
export interface Access {
  /** UUIDv7 of the millisecond in `at`. */
  readonly accessId: string;
  readonly at: Date;
  readonly principal: AuditPrincipal;
  /** An `AccessMethod`, or one that a later release knows. */
  readonly method: string;
  /** What was asked for: JSON with sorted keys. */
  readonly filter: string;
  /**
   * `OK`; `BEGUN` where a stream begins; `CANCELED` where its caller left; `INTERNAL`; or the reason for which nothing, or nothing
   * more, was given.
   */
  readonly outcome: string;
  /** How many events were given, or accesses. */
  readonly givenCount: number;
  /** Of the events that were given. */
  readonly firstLeafIndex: bigint | undefined;
  readonly lastLeafIndex: bigint | undefined;
  /** Of the end of a stream: the access that is its beginning. */
  readonly begunBy: string | undefined;
}

/** Which accesses are meant. What is given must all hold. */
export interface AccessFilter {
  readonly principalId?: string;
  readonly method?: AccessMethod;
  /** Inclusive. */
  readonly from?: Date;
  /** Exclusive. */
  readonly before?: Date;
}
