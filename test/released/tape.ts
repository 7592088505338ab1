import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

/*
 * What a released version sends to its databases: every statement of whole lives of cases and of what is delivered of them, in
 * order, with its values, as its connections sent them. A later schema has to answer the same.
 */

/** One command on a connection: `BEGIN …` and `COMMIT` as text, everything else as a prepared statement. */
export interface TapeCommand {
  readonly text: string;
  readonly values?: readonly TapeValue[];
  /** The command's tag and how many rows it touched or gave. */
  readonly command: string;
  readonly rowCount: number;
}

/** One transaction, or one command outside of any. */
export interface TapeTransaction {
  readonly role: string;
  readonly commands: readonly TapeCommand[];
}

export type TapeValue =
  | null
  | string
  | number
  | boolean
  | { readonly bytes: string }
  | { readonly time: string }
  | readonly TapeValue[];

const folder = new URL("../../contracts/released/", import.meta.url);
const suffix = ".sql.json";

/** The released versions that have a tape. */
export async function listTapes(): Promise<readonly string[]> {
  const names = await readdir(folder);
  return names.flatMap((name) => (name.endsWith(suffix) ? [name.slice(0, -suffix.length)] : [])).toSorted();
}

export async function readTape(version: string): Promise<readonly TapeTransaction[]> {
  return JSON.parse(await readFile(tapePath(version), "utf8")) as readonly TapeTransaction[]; // As `record.ts` wrote it.
}

export function tapePath(version: string): string {
  return fileURLToPath(new URL(`${version}${suffix}`, folder));
}

export function toTapeValue(value: unknown): TapeValue {
  if (value === null || value === undefined) return null;
  if (ArrayBuffer.isView(value)) {
    return { bytes: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64") };
  }
  if (value instanceof Date) return { time: value.toISOString() };
  if (Array.isArray(value)) return value.map(toTapeValue);
  if (typeof value === "bigint") return String(value);
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return value;
  throw new TypeError(`a ${typeof value} has no place on a tape`);
}

export function fromTapeValue(value: TapeValue): unknown {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(fromTapeValue);
  if ("bytes" in value) return Buffer.from(value.bytes, "base64");
  return "time" in value ? new Date(value.time) : value;
}
