/** What every accepted change writes: its audit entry, outbox row and recorded answer. */
export interface NewEntry {
  readonly tenantId: string;
  readonly action: string;
  /** State before; `undefined` where there was none. */
  readonly fromState: string | undefined;
  readonly principalId: string;
  /** Whom the principal acted for; `undefined`: nobody else. */
  readonly onBehalfOf: string | undefined;
  /** The same person has spoken on the decision before, and may again. */
  readonly spokeBefore: boolean;
  /** The earlier entry that this one completes. */
  readonly completes: { readonly version: number; readonly personId: string } | undefined;
  readonly requestId: string;
  readonly requestHash: Uint8Array;
  readonly answer: Uint8Array;
  readonly answerExpiresAt: Date;
  readonly eventId: string;
  readonly event: Uint8Array;
  readonly eventDigest: Uint8Array;
  readonly recordedAt: Date;
  readonly lane: number;
  /** Empty when the call was not traced. */
  readonly traceparent: string;
}

/** A parameter that a statement takes from an entry. */
export interface EntryColumn {
  readonly name: string;
  readonly type: string;
  readonly valueOf: (entry: NewEntry) => unknown;
}

export const entryColumns: readonly EntryColumn[] = [
  { name: "tenant_id", type: "text", valueOf: (e) => e.tenantId },
  { name: "action", type: "text", valueOf: (e) => e.action },
  { name: "from_state", type: "text", valueOf: (e) => e.fromState ?? null },
  { name: "principal_id", type: "text", valueOf: (e) => e.principalId },
  { name: "on_behalf_of", type: "text", valueOf: (e) => e.onBehalfOf ?? null },
  { name: "spoke_before", type: "boolean", valueOf: (e) => e.spokeBefore },
  { name: "completes_version", type: "integer", valueOf: (e) => e.completes?.version ?? null },
  { name: "completes_person_id", type: "text", valueOf: (e) => e.completes?.personId ?? null },
  { name: "request_id", type: "uuid", valueOf: (e) => e.requestId },
  { name: "request_hash", type: "bytea", valueOf: (e) => e.requestHash },
  { name: "answer", type: "bytea", valueOf: (e) => e.answer },
  { name: "answer_expires_at", type: "timestamptz", valueOf: (e) => e.answerExpiresAt },
  { name: "event_id", type: "uuid", valueOf: (e) => e.eventId },
  { name: "event", type: "bytea", valueOf: (e) => e.event },
  { name: "event_digest", type: "bytea", valueOf: (e) => e.eventDigest },
  { name: "recorded_at", type: "timestamptz", valueOf: (e) => e.recordedAt },
  { name: "lane", type: "smallint", valueOf: (e) => e.lane },
  { name: "traceparent", type: "text", valueOf: (e) => e.traceparent },
];

/** The parameter that holds a value, by its name: `$3::uuid`. Throws on a name that has none. */
export type Parameter = (name: string) => string;

/** Numbers parameters in the order given. */
export function numberParameters(
  typed: readonly { readonly name: string; readonly type: string }[],
): Parameter {
  const parameters = new Map(typed.map(({ name, type }, index) => [name, `$${index + 1}::${type}`]));
  return (name) => {
    const parameter = parameters.get(name);
    if (parameter === undefined) throw new RangeError(`no parameter ${name}`);
    return parameter;
  };
}

/** Of a subject that has no entries yet. */
function noVoice(p: Parameter): string {
  return `SELECT NULL::integer AS version, NULL::text AS action WHERE ${p("spoke_before")}`;
}

/**
 * The entry by which the person spoke first on the decision: audit_entries_one_voice lets there be one. It is found by
 * parameters: for a join, a plan that is made while the table is young reads the tenant whole. The limit keeps the first
 * condition where it is, so that nothing is read when they have not spoken.
 */
function firstVoice(p: Parameter): string {
  return `
        SELECT e.version, e.action
          FROM audit_entries e
         WHERE ${p("spoke_before")} AND e.tenant_id = ${p("tenant_id")} AND e.case_id = ${p("case_id")}
           AND e.person_id = coalesce(${p("on_behalf_of")}, ${p("principal_id")})
           AND e.action IN ('approve', 'reject', 'override') AND e.spoke_before_version IS NULL
         LIMIT 1`;
}

/**
 * The rest of a statement that begins with `WITH saved AS (…)`: entry, outbox row and answer for its one row of tenant_id,
 * case_id, version and state; nothing when that has no row.
 */
export function writeEntry(p: Parameter, subject: "new" | "known"): string {
  const voice = subject === "new" ? noVoice(p) : firstVoice(p);
  return `,
  entry AS (
    INSERT INTO audit_entries (tenant_id, case_id, version, action, from_state, to_state, previous_version, principal_id,
                               on_behalf_of, spoke_before_version, spoke_before_action, completes_version, completes_person_id,
                               request_id, event_id, event, event_digest, recorded_at)
    SELECT s.tenant_id, s.case_id, s.version, ${p("action")}, ${p("from_state")}, s.state, nullif(s.version - 1, 0),
           ${p("principal_id")}, ${p("on_behalf_of")}, b.version, b.action, ${p("completes_version")}, ${p("completes_person_id")},
           ${p("request_id")}, ${p("event_id")}, ${p("event")}, ${p("event_digest")}, ${p("recorded_at")}
      FROM saved s
      LEFT JOIN (${voice}) b ON true
  ),
  queued AS (
    INSERT INTO outbox (tenant_id, event_id, lane, case_id, version, traceparent)
    SELECT tenant_id, ${p("event_id")}, ${p("lane")}, case_id, version, ${p("traceparent")} FROM saved
  )
  INSERT INTO recorded_answers (tenant_id, principal_id, request_id, request_hash, answer, case_id, version, expires_at)
  SELECT tenant_id, ${p("principal_id")}, ${p("request_id")}, ${p("request_hash")}, ${p("answer")}, case_id, version,
         ${p("answer_expires_at")}
    FROM saved`;
}
