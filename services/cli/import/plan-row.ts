import { v5 } from "uuid";
import type { Content } from "#services/case/domain/case.ts";
import type { Command } from "#services/case/domain/command.ts";

import { fillTemplate, NoColumn, type Cells } from "./fill-template.ts";
import type { ImportedAction, Mapping, Step } from "./mapping.ts";
import { createTimeReader } from "./read-time.ts";
import type { FileRow } from "./read-rows.ts";

/** One row as the command that it stands for. */
export interface Plan {
  readonly kind: "command";
  readonly row: number;
  readonly requestId: string;
  /** Which case of the source it belongs to. */
  readonly caseKey: string;
  /** When it happened, in milliseconds since 1970. */
  readonly occurredAtMs: number;
  readonly actor: string;
  readonly command: Command & { readonly action: ImportedAction };
  /** Whose name the command's reviewer is: the actor of the case's next row with this action. */
  readonly nextActorOf?: ImportedAction | undefined;
  /** The rules that the case must be created under; `undefined`: whichever hold. */
  readonly policy?: { readonly approvalsRequired: number; readonly appealWindowDays: number } | undefined;
}

/** A row that is no command: not to be imported, or not to be understood. */
export interface NoPlan {
  readonly kind: "none";
  readonly row: number;
  /** Empty where the row's key could not be read. */
  readonly requestId: string;
  readonly outcome: "skipped" | "failed";
  readonly reason: "IGNORED" | "INVALID_ROW" | "UNMAPPED_ACTION";
  readonly detail: string;
}

export type PlanRow = (fileRow: FileRow) => Plan | NoPlan;

/** Namespace (RFC 9562) of the request ids of imported rows. */
const namespace = "4b1f7d6e-8d0c-5a8e-9c55-6f6b0f3c2a17";

/** A row's request id: UUIDv5 of the JSON array of tenant, source and the row's own key. */
export function requestIdOf(tenantId: string, source: string, rowKey: string): string {
  return v5(JSON.stringify([tenantId, source, rowKey]), namespace);
}

/** Makes the planner of a mapping's rows. */
export function createPlanRow(mapping: Mapping, tenantId: string): PlanRow {
  const readTime = createTimeReader(mapping.time.format ?? "iso", mapping.time.zone ?? "UTC");
  return ({ row, value, fault }) => {
    let requestId = "";
    const invalid = (detail: string): NoPlan => ({
      ...{ kind: "none", row, requestId, outcome: "failed", reason: "INVALID_ROW", detail },
    });
    if (value === undefined) return invalid(fault);
    try {
      const cells = toCells(value);
      const rowKey = fillTemplate(mapping.row, cells);
      if (rowKey.trim() === "") return invalid("its row key is empty");
      requestId = requestIdOf(tenantId, mapping.source, rowKey);
      const name = fillTemplate(mapping.action, cells);
      const step = mapping.actions.get(name) ?? (mapping.otherActions === "ignore" ? "ignore" : undefined);
      const none = { kind: "none", row, requestId, detail: name } as const;
      if (step === undefined) return { ...none, outcome: "failed", reason: "UNMAPPED_ACTION" };
      if (step === "ignore") return { ...none, outcome: "skipped", reason: "IGNORED" };
      const caseKey = fillTemplate(mapping.case, cells);
      if (caseKey.trim() === "") return invalid("its case key is empty");
      const time = fillTemplate(mapping.time.value, cells);
      const occurredAtMs = readTime(time);
      if (occurredAtMs === undefined) return invalid(`"${time}" is no time of the mapping's format`);
      const actor = fillTemplate(mapping.actor, cells);
      const { reviewer } = step;
      return {
        ...{ kind: "command", row, requestId, caseKey, occurredAtMs, actor },
        command: toCommand(mapping, step, caseKey, cells),
        nextActorOf: typeof reviewer === "object" ? reviewer.nextActorOf : undefined,
      };
    } catch (error) {
      if (error instanceof NoColumn) return invalid(error.message);
      throw error;
    }
  };
}

/** The cells of a row as text; what is neither text, number nor boolean is left out. */
function toCells(value: Readonly<Record<string, unknown>>): Cells {
  const cells: Record<string, string> = {};
  for (const [name, cell] of Object.entries(value)) {
    if (cell === null) cells[name] = "";
    if (typeof cell === "string" || typeof cell === "number" || typeof cell === "boolean")
      cells[name] = String(cell);
  }
  return cells;
}

function toCommand(mapping: Mapping, step: Step, caseKey: string, cells: Cells): Plan["command"] {
  const said = (template: string | undefined) => fillTemplate(template ?? "", cells);
  const reason = said(step.reason);
  switch (step.do) {
    case "create": {
      const content = toContent(mapping, cells);
      return { action: "create", caseType: mapping.caseType, externalReference: caseKey, content };
    }
    case "update":
      return {
        action: "update",
        content: toContent(mapping, cells),
        fields: ["title", "summary", "people"],
      };
    case "assign_reviewer":
      return {
        action: "assign_reviewer",
        reviewerId: typeof step.reviewer === "object" ? "" : said(step.reviewer),
      };
    case "appeal":
      return { action: "appeal", grounds: reason };
    case "override":
      return {
        action: "override",
        target: step.target ?? "rejected", // The schema asks for one.
        reason,
        legalAuthority: said(step.legalAuthority),
      };
    case "submit":
    case "start_review":
    case "start_appeal_review":
      return { action: step.do };
    case "approve":
    case "reject":
    case "approve_appeal":
    case "reject_appeal":
    case "close":
      return { action: step.do, reason };
    default:
      return step.do satisfies never;
  }
}

function toContent({ content }: Mapping, cells: Cells): Content {
  return {
    title: fillTemplate(content.title, cells),
    summary: fillTemplate(content.summary, cells),
    people: content.people.map(({ name, role, contact = "" }) => ({
      name: fillTemplate(name, cells),
      role: fillTemplate(role, cells),
      contact: fillTemplate(contact, cells),
    })),
  };
}
