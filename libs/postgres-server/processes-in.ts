import { readdir, readlink } from "node:fs/promises";

/**
 * Ids of the processes whose working folder is `folder`, a real path: of a data folder those are its postmaster and all
 * of the postmaster's children, also when the postmaster itself has been killed. Other users' processes are seen by root
 * only, and other containers' by nobody.
 */
export async function processesIn(folder: string): Promise<number[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const folders = await Promise.all(pids.map((pid) => readlink(`/proc/${pid}/cwd`).catch(() => undefined)));
  return pids.filter((_, index) => folders[index] === folder).map(Number);
}
