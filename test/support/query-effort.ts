import type { Client } from "pg";
import type { Statement } from "#libs/pg/statement.ts";

export interface Effort {
  readonly buffers: number;
  /** Rows that any node of the plan took up, those it threw away included. */
  readonly rows: number;
}

export interface MeasuredEffort extends Effort {
  /** Of the rows, those that were read from a table. */
  readonly read: number;
}

interface PlanNode {
  readonly "Node Type": string;
  readonly "Parent Relationship"?: string;
  readonly "Relation Name"?: string;
  readonly "Index Cond"?: string;
  readonly "Actual Rows": number;
  readonly "Actual Loops": number;
  readonly "Rows Removed by Filter"?: number;
  readonly "Shared Hit Blocks": number;
  readonly "Shared Read Blocks": number;
  readonly Plans?: readonly PlanNode[];
}

/** Runs a statement as a service does, and undoes it: as its role, for its tenant, planned for its values. */
export async function effortOf(
  superuser: Client,
  role: string,
  tenant: string,
  { text, values }: Statement,
  settings: Readonly<Record<string, string>> = {},
): Promise<MeasuredEffort> {
  const locals = { role, "app.tenant_id": tenant, plan_cache_mode: "force_custom_plan", ...settings };
  await superuser.query("BEGIN");
  await superuser.query(
    Object.entries(locals)
      .map(([name, value]) => `SET LOCAL ${name} = '${value}'`)
      .join("; "),
  );
  const { rows } = await superuser.query<{ "QUERY PLAN": [{ Plan: PlanNode }] }>(
    `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ${text}`,
    [...values],
  );
  await superuser.query("ROLLBACK");
  const plan = rows[0]!["QUERY PLAN"][0].Plan;
  const nodes = nodesOf(plan);
  const scans = nodes.filter((node) => node["Relation Name"] !== undefined);
  return { buffers: buffersOf(plan), rows: rowsOf(nodes), read: rowsOf(scans) };
}

/** What is written by a part of its own is not counted by the whole. */
function buffersOf(node: PlanNode): number {
  const parts = (node.Plans ?? []).filter((plan) => plan["Parent Relationship"] === "InitPlan");
  const own = node["Shared Hit Blocks"] + node["Shared Read Blocks"];
  return parts.reduce((sum, plan) => sum + buffersOf(plan), own);
}

function rowsOf(nodes: readonly PlanNode[]): number {
  return nodes
    .map((node) => (node["Actual Rows"] + (node["Rows Removed by Filter"] ?? 0)) * node["Actual Loops"])
    .reduce((sum, rows) => sum + rows, 0);
}

/** A plan's nodes, it and all below it. */
export function nodesOf(node: PlanNode): readonly PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap(nodesOf)];
}
