import { readFile } from "node:fs/promises";
import { replaceFile } from "#libs/files/replace-file.ts";

/** One thing that a benchmark holds the product to: it passes when `value` is at least `atLeast`. */
export interface Bar {
  readonly name: string;
  readonly value: number;
  readonly atLeast: number;
}

const path = "bench-report.json";

/** Adds bars to the report, in place of those of the same names, and leaves the others; returns whether all of `bars` pass. */
export async function reportBars(bars: readonly Bar[]): Promise<boolean> {
  const judged = bars.map((bar) => ({ ...bar, pass: bar.value >= bar.atLeast }));
  const names = new Set(bars.map(({ name }) => name));
  const others = (await readBars()).filter(({ name }) => !names.has(name));
  await replaceFile(path, `${JSON.stringify({ bars: [...others, ...judged] }, null, 2)}\n`, 0o644);
  return judged.every(({ pass }) => pass);
}

async function readBars(): Promise<readonly Bar[]> {
  const text = await readFile(path, "utf8").catch(() => '{"bars":[]}');
  return (JSON.parse(text) as { bars: readonly Bar[] }).bars; // Written above.
}
