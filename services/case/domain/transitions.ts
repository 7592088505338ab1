import type { Action, CaseState, Role } from "./case.ts";

/** One row of the state table: from which state an action may lead to which, and the role it asks for. */
export interface Transition {
  /** `null`: there is no case yet. `"any"`: every state, which the action leaves as it is. */
  readonly from: CaseState | null | "any";
  readonly action: Action;
  /** Where it may lead; more than one where the outcome depends on who did it before. Empty for `"any"`. */
  readonly to: readonly CaseState[];
  readonly role: Role;
}

/**
 * The whole state table. Every (state, action) pair that is not here is refused. The database holds the same list
 * as a CHECK on audit entries, and the schema holds the roles as each method's authz option; tests compare the three.
 */
export const transitions: readonly Transition[] = [
  { from: null, action: "create", to: ["draft"], role: "caseworker" },
  { from: "draft", action: "update", to: ["draft"], role: "caseworker" },
  { from: "draft", action: "submit", to: ["submitted"], role: "caseworker" },
  { from: "submitted", action: "assign_reviewer", to: ["submitted"], role: "supervisor" },
  { from: "submitted", action: "start_review", to: ["under_review"], role: "reviewer" },
  { from: "under_review", action: "approve", to: ["under_review", "approved"], role: "reviewer" },
  { from: "under_review", action: "reject", to: ["rejected"], role: "reviewer" },
  { from: "approved", action: "appeal", to: ["appealed"], role: "caseworker" },
  { from: "rejected", action: "appeal", to: ["appealed"], role: "caseworker" },
  { from: "appealed", action: "start_appeal_review", to: ["appeal_under_review"], role: "reviewer" },
  { from: "appeal_under_review", action: "approve_appeal", to: ["appeal_approved"], role: "reviewer" },
  { from: "appeal_under_review", action: "reject_appeal", to: ["appeal_rejected"], role: "reviewer" },
  { from: "approved", action: "override", to: ["approved", "rejected"], role: "supervisor" },
  { from: "rejected", action: "override", to: ["rejected", "approved"], role: "supervisor" },
  { from: "approved", action: "close", to: ["closed"], role: "supervisor" },
  { from: "rejected", action: "close", to: ["closed"], role: "supervisor" },
  { from: "appeal_approved", action: "close", to: ["closed"], role: "supervisor" },
  { from: "appeal_rejected", action: "close", to: ["closed"], role: "supervisor" },
  { from: "any", action: "place_hold", to: [], role: "operator" },
  { from: "any", action: "release_hold", to: [], role: "operator" },
  { from: "any", action: "erase", to: [], role: "operator" },
];

/** Whether the table has a row for `action` in `from`. */
export function isAllowed(from: CaseState | null, action: Action): boolean {
  return transitions.some(
    (row) => row.action === action && (row.from === from || (row.from === "any" && from !== null)),
  );
}
