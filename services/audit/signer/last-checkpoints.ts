import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { replaceFile } from "#libs/files/replace-file.ts";
import { type Checkpoint, readCheckpoint } from "#libs/merkle/checkpoint.ts";

/** A file that holds no checkpoint, or one of another log. */
export class UnusableCheckpointError extends Error {
  override readonly name = "UnusableCheckpointError";
}

/** A signed checkpoint, read. */
export interface SignedCheckpoint extends Checkpoint {
  /** The whole of it, with its signatures. */
  readonly note: string;
}

/** The last checkpoint that was signed of each log, in a folder: what the database cannot take back. */
export interface LastCheckpoints {
  /** Size of each log's last checkpoint, by tenant, as far as this process has seen; -1 where the file holds none. */
  readonly sizes: ReadonlyMap<string, number>;
  /** `undefined` when nothing was ever signed of the log. Throws `UnusableCheckpointError`. */
  read(tenantId: string): Promise<SignedCheckpoint | undefined>;
  /** Resolves once it is on disk. */
  write(tenantId: string, note: string): Promise<void>;
  /** Where a log's is kept. */
  pathOf(tenantId: string): string;
}

const suffix = ".checkpoint";
const fileNamePattern = /^([a-z0-9][a-z0-9-]{0,62})\.checkpoint$/;

/** Opens the folder, and looks at every file once. `origin` is that of the logs, without the tenant. */
export async function openLastCheckpoints(folder: string, origin: string): Promise<LastCheckpoints> {
  const sizes = new Map<string, number>();
  const pathOf = (tenantId: string) => join(folder, `${tenantId}${suffix}`);
  const last: LastCheckpoints = {
    sizes,
    pathOf,
    async read(tenantId) {
      const note = await readText(pathOf(tenantId));
      if (note === undefined) {
        sizes.delete(tenantId);
        return undefined;
      }
      sizes.set(tenantId, -1);
      const checkpoint = readSignedCheckpoint(note, `${origin}/${tenantId}`);
      sizes.set(tenantId, checkpoint.size);
      return checkpoint;
    },
    async write(tenantId, note) {
      const { size } = readSignedCheckpoint(note, `${origin}/${tenantId}`);
      await replaceFile(pathOf(tenantId), note, 0o600);
      sizes.set(tenantId, size);
    },
  };
  for (const name of await readdir(folder)) {
    const tenantId = fileNamePattern.exec(name)?.[1];
    if (tenantId !== undefined) await last.read(tenantId).catch(ignoreUnusable);
  }
  return last;
}

/** Reads a note without asking who signed it. Throws `UnusableCheckpointError` when it is no checkpoint of the log. */
export function readSignedCheckpoint(note: string, origin: string): SignedCheckpoint {
  let checkpoint: Checkpoint;
  try {
    checkpoint = readCheckpoint(note.slice(0, note.lastIndexOf("\n\n") + 1));
  } catch (cause) {
    throw new UnusableCheckpointError("it is no checkpoint", { cause });
  }
  if (checkpoint.origin !== origin)
    throw new UnusableCheckpointError(`it is of the log ${checkpoint.origin}`);
  return { ...checkpoint, note };
}

/** `undefined` when there is no such file. */
async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** It is told when the log is to be signed. */
function ignoreUnusable(error: unknown): void {
  if (!(error instanceof UnusableCheckpointError)) throw error;
}
