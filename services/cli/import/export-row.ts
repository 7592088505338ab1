import { requestIdOf, type NoPlan, type Plan, type PlanRow } from "./plan-row.ts";

/** One line of `caseflow export`: an action on a case. Keys in the order of the alphabet, as they are written. */
export interface ExportRow {
  /** Who acted: the person, whichever program was in between. */
  readonly actor: string;
  /** Key of the case in the export. */
  readonly case: string;
  /** The action, and what it said. */
  readonly command: Plan["command"];
  /** When it happened, as ISO 8601 in UTC, to the millisecond. */
  readonly occurredAt: string;
  /** Of a creation: the rules that the case is judged under. */
  readonly policy?: { readonly appealWindowDays: number; readonly approvalsRequired: number };
  /** The line's own key. */
  readonly row: string;
}

/** What the export's rows are known by, as another system's are by its mapping's source. */
const source = "caseflow-export";

/** Makes the planner of the rows that `caseflow export` writes. */
export function createPlanExportRow(tenantId: string): PlanRow {
  return ({ row, value, fault }): Plan | NoPlan => {
    const invalid = (detail: string): NoPlan => ({
      ...{ kind: "none", row, requestId: "", outcome: "failed", reason: "INVALID_ROW", detail },
    });
    if (value === undefined) return invalid(fault);
    if (!isExportRow(value))
      return invalid("it is no line of an export; another system's file needs --mapping");
    const occurredAtMs = Date.parse(value.occurredAt);
    if (Number.isNaN(occurredAtMs)) return invalid(`"${value.occurredAt}" is no time`);
    return {
      kind: "command",
      row,
      requestId: requestIdOf(tenantId, source, value.row),
      caseKey: value.case,
      occurredAtMs,
      actor: value.actor,
      command: value.command,
      policy: value.policy,
    };
  };
}

const textOf: Readonly<Record<Plan["command"]["action"], readonly string[]>> = {
  create: ["caseType", "externalReference"],
  update: [],
  submit: [],
  assign_reviewer: ["reviewerId"],
  start_review: [],
  approve: ["reason"],
  reject: ["reason"],
  appeal: ["grounds"],
  start_appeal_review: [],
  approve_appeal: ["reason"],
  reject_appeal: ["reason"],
  override: ["reason", "legalAuthority", "target"],
  close: ["reason"],
};

function isExportRow(value: unknown): value is ExportRow {
  if (!isRecord(value) || !hasText(value, ["actor", "case", "occurredAt", "row"])) return false;
  const { command, policy } = value;
  if (!isRecord(command) || typeof command["action"] !== "string") return false;
  const { action, content } = command;
  if (!Object.hasOwn(textOf, action)) return false;
  const fields = textOf[action as Plan["command"]["action"]]; // It is one of the keys.
  if (!hasText(command, fields)) return false;
  if (action === "create" || action === "update") {
    if (!isRecord(content) || !hasText(content, ["title", "summary"])) return false;
    const { people } = content;
    const arePeople =
      Array.isArray(people) &&
      people.every((one) => isRecord(one) && hasText(one, ["name", "role", "contact"]));
    if (!arePeople) return false;
  }
  if (action === "update" && !isFields(command["fields"])) return false;
  return policy === undefined || isRecord(policy);
}

function isFields(value: unknown): boolean {
  return (
    Array.isArray(value) && value.every((field) => ["title", "summary", "people"].includes(String(field)))
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function hasText(value: Readonly<Record<string, unknown>>, names: readonly string[]): boolean {
  return names.every((name) => typeof value[name] === "string");
}
