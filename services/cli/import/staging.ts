import { DatabaseSync } from "node:sqlite";

import type { ImportedAction } from "./mapping.ts";
import type { NoPlan, Plan } from "./plan-row.ts";

/** What became of a row: a line of the report. */
export interface ReportLine {
  /** From 1, in the order of the file. */
  readonly row: number;
  readonly requestId: string;
  /** Empty where there is no case, and in a dry run where it is not there yet. */
  readonly caseId: string;
  /** Empty where the row stands for no command. */
  readonly action: string;
  readonly outcome: "applied" | "skipped" | "failed";
  readonly reason: string;
}

/** A planned row in the order of its case; `repeats` is the row with the same key that came first. */
export type StagedPlan = Plan & { readonly repeats: number | undefined };

/** Where a row stands in its case: by time, and at the same time in the order of the file. */
export interface Position {
  readonly occurredAtMs: number;
  readonly row: number;
}

export interface Staging extends Disposable {
  /** Adds a row of the file; returns what became of it at once, if anything. */
  add(plan: Plan | NoPlan): Pick<ReportLine, "outcome" | "reason"> | undefined;
  /** The case after this one in the order of keys; `undefined` after the last. */
  nextCase(after: string): string | undefined;
  /** The rows of a case in their order, read in pages. */
  plansOf(caseKey: string): Generator<StagedPlan>;
  /** Where the row with this request id stands in the case, if it is one of its rows. */
  positionOf(caseKey: string, requestId: string): Position | undefined;
  /** Rows of a case that would create it, in their order. */
  creationsOf(caseKey: string): readonly StagedPlan[];
  /** Who did this action next in the case, after a position. */
  nextActorOf(caseKey: string, action: ImportedAction, after: Position): string | undefined;
  settle(row: number, line: Pick<ReportLine, "caseId" | "outcome" | "reason">): void;
  /** Every row with an outcome, in the order of the file. */
  report(): Generator<ReportLine>;
}

const pageRows = 200;
const cacheKib = 16 * 1024;

const schema = `
  PRAGMA journal_mode = OFF;
  PRAGMA synchronous = OFF;
  PRAGMA cache_size = -${cacheKib};
  CREATE TABLE rows (
    row INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL,
    case_key TEXT,
    occurred_at_ms INTEGER,
    action TEXT NOT NULL,
    plan TEXT,
    repeats INTEGER,
    case_id TEXT,
    outcome TEXT,
    reason TEXT
  );
  CREATE INDEX rows_by_request ON rows (request_id);
  CREATE INDEX rows_by_case ON rows (case_key, occurred_at_ms, row);
  BEGIN`;

/**
 * Sorts the rows of a file by case and time, and keeps what becomes of each, in a database on disk that nobody else
 * sees and that is gone with the process: memory does not grow with the file.
 */
export function openStaging(): Staging {
  const database = new DatabaseSync(""); // SQLite's name for a private file, deleted while it is used.
  database.exec(schema);
  const insert = database.prepare(
    `INSERT INTO rows (row, request_id, case_key, occurred_at_ms, action, plan, repeats, outcome, case_id, reason)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, '', ?)`,
  );
  const first = database.prepare(
    "SELECT row, plan FROM rows WHERE request_id = ? AND repeats IS NULL AND plan IS NOT NULL LIMIT 1",
  );
  const next = database.prepare("SELECT min(case_key) AS case_key FROM rows WHERE case_key > ?");
  const page = database.prepare(
    `SELECT plan, row, occurred_at_ms, repeats FROM rows
      WHERE case_key = ? AND (occurred_at_ms, row) > (?, ?)
      ORDER BY occurred_at_ms, row LIMIT ${pageRows}`,
  );
  const position = database.prepare(
    `SELECT row, occurred_at_ms FROM rows
      WHERE request_id = ? AND case_key = ? AND repeats IS NULL AND plan IS NOT NULL`,
  );
  const creations = database.prepare(
    `SELECT plan, row, repeats FROM rows
      WHERE case_key = ? AND action = 'create' AND repeats IS NULL AND outcome IS NULL
      ORDER BY occurred_at_ms, row LIMIT ${pageRows}`,
  );
  const following = database.prepare(
    `SELECT plan FROM rows
      WHERE case_key = ? AND action = ? AND (occurred_at_ms, row) > (?, ?)
      ORDER BY occurred_at_ms, row LIMIT 1`,
  );
  const update = database.prepare("UPDATE rows SET case_id = ?, outcome = ?, reason = ? WHERE row = ?");
  const settled = database.prepare(
    `SELECT row, request_id, case_id, action, outcome, reason FROM rows
      WHERE outcome IS NOT NULL ORDER BY row`,
  );

  return {
    add(plan) {
      if (plan.kind === "none") {
        const { row, requestId, outcome, reason } = plan;
        insert.run(row, requestId, null, null, "", null, null, outcome, reason);
        return plan;
      }
      const { row, requestId, caseKey, occurredAtMs, command } = plan;
      const before = first.get(requestId);
      const text = JSON.stringify(plan);
      const repeats = before === undefined ? null : Number(before["row"]);
      const place = [row, requestId, caseKey, occurredAtMs, command.action, text, repeats] as const;
      if (before !== undefined && withoutRow(String(before["plan"])) !== withoutRow(text)) {
        // It would be another request with a used id: which of the two came first must not depend on chance.
        insert.run(row, requestId, null, null, command.action, null, null, "failed", "REQUEST_ID_REUSED");
        return { outcome: "failed", reason: "REQUEST_ID_REUSED" };
      }
      insert.run(...place, null, null);
      return undefined;
    },
    nextCase(after) {
      const key = next.get(after)?.["case_key"];
      return typeof key === "string" ? key : undefined;
    },
    *plansOf(caseKey) {
      let after: Position = { occurredAtMs: -1, row: 0 };
      for (;;) {
        const rows = page.all(caseKey, after.occurredAtMs, after.row);
        for (const row of rows) {
          const plan = toPlan(row);
          yield plan;
          after = plan;
        }
        if (rows.length < pageRows) return;
      }
    },
    positionOf(caseKey, requestId) {
      const found = position.get(requestId, caseKey);
      return found && { row: Number(found["row"]), occurredAtMs: Number(found["occurred_at_ms"]) };
    },
    creationsOf: (caseKey) => creations.all(caseKey).map(toPlan),
    nextActorOf(caseKey, action, after) {
      const found = following.get(caseKey, action, after.occurredAtMs, after.row);
      return found && toPlan(found).actor;
    },
    settle: (row, { caseId, outcome, reason }) => void update.run(caseId, outcome, reason, row),
    *report() {
      for (const line of settled.iterate()) {
        yield {
          row: Number(line["row"]),
          requestId: String(line["request_id"]),
          caseId: String(line["case_id"]),
          action: String(line["action"]),
          outcome: line["outcome"] as ReportLine["outcome"], // As `settle` and `add` wrote it.
          reason: String(line["reason"]),
        };
      }
    },
    [Symbol.dispose]: () => database.close(),
  };
}

function withoutRow(plan: string): string {
  return plan.replace(/"row":\d+,/, "");
}

function toPlan(found: Record<string, unknown>): StagedPlan {
  const plan = JSON.parse(String(found["plan"])) as Plan; // As `add` wrote it.
  const { repeats } = found;
  return { ...plan, repeats: typeof repeats === "number" ? repeats : undefined };
}
