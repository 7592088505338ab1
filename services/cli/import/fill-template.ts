import type { Template } from "./mapping.ts";

/** A row's cells by the name of their column. */
export type Cells = Readonly<Record<string, string>>;

/** The row lacks a column that a template names. */
export class NoColumn extends Error {
  override readonly name = "NoColumn";
}

/** Puts the row's cells into a template. Throws `NoColumn` for a column that is not there. */
export function fillTemplate(template: Template, cells: Cells): string {
  return template.replaceAll(/\{([^{}]+)\}/g, (_, column: string) => {
    if (!Object.hasOwn(cells, column)) throw new NoColumn(`the row has no column ${column}`);
    return cells[column] ?? "";
  });
}
