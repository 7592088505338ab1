import type { Statement } from "#libs/pg/statement.ts";
import { builtInPolicy, type Policy } from "../domain/case.ts";
import { entryColumns, numberParameters, writeEntry, type NewEntry } from "./new-entry.ts";

/**
 * Reads the policy of a case type that is in force, with the event that set it; no row: the built-in one. Locks nothing: a
 * case that is created meanwhile takes the one before or the one after, and names the one it took.
 */
export function loadPolicy(tenantId: string, caseType: string): Statement {
  return {
    name: "load_policy",
    text: `
      SELECT p.policy_version AS version, p.approvals_required, p.appeal_window_days, e.event_id, e.event_digest
        FROM case_policies p
        JOIN audit_entries e ON e.tenant_id = p.tenant_id AND e.case_id = p.subject_id AND e.version = p.policy_version
       WHERE p.tenant_id = $1 AND p.case_type = $2
       ORDER BY p.policy_version DESC
       LIMIT 1`,
    values: [tenantId, caseType],
  };
}

/** The columns of `loadPolicy` as `pg` gives them. */
export interface PolicyRow {
  readonly version: number;
  readonly approvals_required: number;
  readonly appeal_window_days: number;
  readonly event_id: string;
  readonly event_digest: Buffer;
}

/** Throws on a row that the schema should have refused. */
export function toPolicy(row: PolicyRow | undefined): Policy {
  if (row === undefined) return builtInPolicy;
  const { version, approvals_required: approvalsRequired, appeal_window_days: appealWindowDays } = row;
  if (approvalsRequired !== 1 && approvalsRequired !== 2) throw new Error("a stored policy is damaged");
  return { version, approvalsRequired, appealWindowDays };
}

export interface NewPolicy extends NewEntry {
  readonly caseType: string;
  /** Under which its entries stand. */
  readonly subjectId: string;
  readonly policy: Policy;
}

/**
 * The one data-modifying statement of a policy: its entry, the rules, outbox row and answer, all or none. Fails with a
 * unique violation of `case_policies_pkey` when somebody set the same version meanwhile.
 */
export function savePolicy(change: NewPolicy): Statement {
  return {
    name: "save_policy",
    text,
    values: [
      ...entryColumns.map(({ valueOf }) => valueOf(change)),
      change.subjectId,
      change.policy.version,
      change.caseType,
      change.policy.approvalsRequired,
      change.policy.appealWindowDays,
    ],
  };
}

const p = numberParameters([
  ...entryColumns,
  { name: "subject_id", type: "uuid" },
  { name: "policy_version", type: "integer" },
  { name: "case_type", type: "text" },
  { name: "approvals_required", type: "smallint" },
  { name: "appeal_window_days", type: "integer" },
]);

const text = `
  WITH saved AS (
    INSERT INTO case_policies (tenant_id, case_type, policy_version, subject_id, approvals_required, appeal_window_days)
    VALUES (${["tenant_id", "case_type", "policy_version", "subject_id", "approvals_required", "appeal_window_days"].map(p).join(", ")})
    RETURNING tenant_id, subject_id AS case_id, policy_version AS version, 'in_force' AS state
  )${writeEntry(p, "new")}`;
