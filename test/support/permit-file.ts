import { createWriteStream } from "node:fs";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

/** A made-up file in the shape that `services/cli/import/permits.yaml` maps. */
export interface PermitFileOptions {
  readonly rows: number;
  /** The same seed makes the same file. */
  readonly seed: number;
}

const columns = [
  ...["case:channel", "case:concept:name", "case:department", "case:group", "concept:instance"],
  ...["concept:name", "org:resource", "time:timestamp"],
];
const mainLine = [
  "Confirmation of receipt",
  "T02 Check confirmation of receipt",
  "T04 Determine confirmation of receipt",
  "T05 Print and send confirmation of receipt",
  "T06 Determine necessity of stop advice",
  "T10 Determine necessity to stop indication",
];
const sideLine = ["T03 Adjust confirmation of receipt", "T08 Draft and send request for advice"];
const officials = 48;
/** Applications under way at a time, whose rows are scattered among one another. */
const openCasesMax = 40;
const firstMs = Date.UTC(2011, 9, 1);

interface OpenCase {
  readonly name: string;
  readonly rows: string[];
}

/** Rows of cases scattered among one another, in untidy orders, some at the same time, repeated, or damaged. */
export async function writePermitFile(path: string, options: PermitFileOptions): Promise<void> {
  await pipeline(Readable.from(lines(options)), createWriteStream(path));
}

function* lines({ rows, seed }: PermitFileOptions): Generator<string> {
  const random = createRandom(seed);
  const open: OpenCase[] = [];
  let opened = 0;
  let task = 0;
  yield `${columns.join(",")}\n`;
  for (let written = 0; written < rows; written++) {
    while (open.length < openCasesMax) open.push(openCase(++opened, random, () => ++task));
    const at = Math.floor(random() * open.length);
    const { rows: left } = open[at]!;
    yield `${left.shift()!}\n`;
    if (left.length === 0) open.splice(at, 1);
  }
}

function openCase(number: number, random: () => number, nextTask: () => number): OpenCase {
  const name = `case-${number}`;
  const pick = (count: number) => Math.floor(random() * count);
  const steps = mainLine.slice(0, 1 + pick(mainLine.length));
  if (random() < 0.2) steps.splice(1 + pick(steps.length), 0, sideLine[pick(sideLine.length)]!);
  if (random() < 0.15) swap(steps, pick(steps.length), pick(steps.length));
  let atMs = firstMs + number * 60_000 + pick(60_000);
  const rows = steps.map((step) => {
    if (random() < 0.9) atMs += 1 + pick(86_400_000); // Else at the same time as the one before.
    const cells = ["Internet", name, "General", `Group ${1 + pick(4)}`, `task-${nextTask()}`, step];
    return [...cells, `Resource${1 + pick(officials)}`, toText(atMs)].join(",");
  });
  if (random() < 0.1) swap(rows, pick(rows.length), pick(rows.length)); // The file is not in order of time.
  if (random() < 0.05) rows.push(rows[pick(rows.length)]!);
  if (random() < 0.03) rows.push(rows[0]!.replace("Internet", "Desk").replace(name, `case-${number + 1}`));
  if (random() < 0.02) rows.push(`Internet,${name},a row of three cells`);
  if (random() < 0.02)
    rows.push(rows[0]!.replace(/task-\d+/, `task-${nextTask()}`).replace(/,[^,]*$/, ",soon"));
  return { name, rows };
}

function swap(items: string[], one: number, other: number): void {
  [items[one], items[other]] = [items[other]!, items[one]!];
}

function toText(ms: number): string {
  return new Date(ms).toISOString().replace("T", " ").replace("Z", "000+00:00");
}

/** Mulberry32, by Tommy Ettinger: even enough for made-up files, and the same everywhere. */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
