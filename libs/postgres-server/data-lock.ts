import { readFile, stat, unlink } from "node:fs/promises";
import { join } from "node:path";

import { processesIn } from "./processes-in.ts";

/** Who works on a data folder. */
export interface Holder {
  /** The postmaster's, or of one of the processes it has left behind. */
  readonly pid: number;
  /** It is on its way out: told to stop, or killed with its children still to notice. */
  readonly ending: boolean;
}

/** In `postmaster.pid`, by line: process id, folder, start, port, socket folder, address, shared memory, status. */
const statusLine = 7;

export async function findHolder(dataDir: string): Promise<Holder | undefined> {
  const pids = await processesIn(dataDir);
  const lines = await readLock(dataDir);
  const postmaster = pids.find((pid) => pid === Number(lines[0]));
  const pid = postmaster ?? pids[0];
  if (pid === undefined) return undefined;
  return { pid, ending: postmaster === undefined || lines[statusLine]?.trim() === "stopping" };
}

/**
 * Removes `postmaster.pid` when the machine or the container died with the server and its process id is another
 * program's by now: PostgreSQL would take that one for itself and refuse to start. Call it when nobody holds the folder.
 *
 * A file that is not older than `begunAt` (milliseconds since 1970) is left: another start is making it.
 */
export async function dropStaleLock(dataDir: string, begunAt: number): Promise<void> {
  const path = lockPath(dataDir);
  const written = await stat(path).catch(() => undefined);
  if (written === undefined || written.mtimeMs > begunAt - clockStepMs) return;
  if (!isAlive(Number((await readLock(dataDir))[0]))) return; // PostgreSQL sees that for itself.
  if ((await processesIn(dataDir)).length === 0) await unlink(path).catch(() => {});
}

function isAlive(pid: number): boolean {
  try {
    return pid > 0 && process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** File times run in steps of the kernel's clock, behind the clock that JavaScript reads. */
const clockStepMs = 1_000;

function lockPath(dataDir: string): string {
  return join(dataDir, "postmaster.pid");
}

async function readLock(dataDir: string): Promise<string[]> {
  return (await readFile(lockPath(dataDir), "utf8").catch(() => "")).split("\n");
}
