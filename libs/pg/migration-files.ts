import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

export interface MigrationFile {
  /** From 1, without a gap. */
  readonly version: number;
  /** The file's name, with its number and `.sql`. */
  readonly name: string;
  readonly sql: string;
  /** Of the file's bytes. */
  readonly sha256: Buffer;
}

const namePattern = /^(\d{4})_[a-z0-9][a-z0-9_-]*\.sql$/;

/**
 * Reads every `NNNN_name.sql` of `folder`, in order. Files that do not end in `.sql` are left alone.
 *
 * Throws when a name does not fit the pattern, and when the numbers are not exactly 1, 2, 3, …
 */
export async function readMigrationFiles(folder: string): Promise<readonly MigrationFile[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".sql")).toSorted();
  if (names.length === 0) throw new Error(`${folder}: no migration in it (NNNN_name.sql)`);
  return Promise.all(names.map((name, index) => readMigrationFile(folder, name, index + 1)));
}

async function readMigrationFile(folder: string, name: string, version: number): Promise<MigrationFile> {
  const digits = namePattern.exec(name)?.[1];
  if (digits === undefined) throw new Error(`${name}: not a migration's name, expected NNNN_name.sql`);
  if (Number(digits) !== version) {
    const expected = String(version).padStart(4, "0");
    throw new Error(`${name}: out of sequence, expected a file numbered ${expected} (a gap or a duplicate)`);
  }
  const bytes = await readFile(join(folder, name));
  return { version, name, sql: bytes.toString("utf8"), sha256: createHash("sha256").update(bytes).digest() };
}
