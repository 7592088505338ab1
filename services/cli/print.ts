import { once } from "node:events";
import type { Writable } from "node:stream";
import type { Command } from "commander";

/** Writes a command's answer to stdout: `text` for people, or `data` as one line of JSON with `--json`. */
export function print(command: Command, text: string, data: unknown): void {
  console.log(command.opts<{ json?: boolean }>().json ? JSON.stringify(data) : text);
}

/** Writes a line, and waits where its reader is slower than that. */
export async function writeLine(stream: Writable, line: string): Promise<void> {
  if (!stream.write(`${line}\n`)) await once(stream, "drain");
}

/** What somebody else wrote, on one line: a line end in it must not pass for a line of ours. */
export function toLine(text: string): string {
  return text
    .replaceAll(/\s+/g, " ")
    .replaceAll(/\p{Cc}/gu, "")
    .trim();
}

/** Lays rows out in columns, each as wide as its widest cell. */
export function toTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)));
  }
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
