import { DatabaseSync } from "node:sqlite";
import type { CaseClient } from "#libs/client/case-client.ts";

import { readCases, readHistory } from "../read-cases.ts";
import { toExportRows } from "./to-export-rows.ts";

/**
 * Writes every case of the tenant, line by line: by external reference, then by when and by whom it was created, then by
 * all that happened to it. What cannot be told apart by that gives the same bytes in either order. Cases are sorted on
 * disk, in a private file that is gone with the process.
 */
export async function exportCases(
  cases: CaseClient,
  write: (line: string) => Promise<void>,
): Promise<{ readonly cases: number; readonly actions: number }> {
  using database = new DatabaseSync("");
  database.exec(`
    PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16384;
    CREATE TABLE cases (reference TEXT, birth TEXT, rows TEXT, id INTEGER PRIMARY KEY);
    CREATE INDEX cases_in_order ON cases (reference, birth, rows);
    BEGIN`);
  const insert = database.prepare("INSERT INTO cases (reference, birth, rows) VALUES (?, ?, ?)");
  for await (const found of readCases(cases, {})) {
    const entries = await Array.fromAsync(readHistory(cases, found.caseId));
    const { birth, rows } = toExportRows(found, entries);
    insert.run(found.externalReference, birth, JSON.stringify(rows));
  }
  const counts = { cases: 0, actions: 0 };
  let before = "";
  let twins = 0;
  for (const { birth, rows } of database
    .prepare("SELECT birth, rows FROM cases ORDER BY reference, birth, rows")
    .iterate()) {
    const caseBirth = String(birth);
    twins = caseBirth === before ? twins + 1 : 0;
    before = caseBirth;
    const key = `${caseBirth}/${twins}`;
    const lines = JSON.parse(String(rows)) as object[]; // As written above.
    for (const [index, line] of lines.entries()) {
      await write(toCanonicalJson({ ...line, case: key, row: `${key}/${index + 1}` }));
    }
    counts.cases += 1;
    counts.actions += lines.length;
  }
  return counts;
}

/** JSON without spaces, the keys of every object in the order of their code units, as RFC 8785 has them. */
export function toCanonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => {
    if (typeof part !== "object" || part === null || Array.isArray(part)) return part;
    return Object.fromEntries(Object.entries(part).toSorted(([one], [other]) => (one < other ? -1 : 1)));
  });
}
