import { readFile, readdir } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";

/** In the environment of every service of a stack: names the stack's folder, so that what is left of it can be found. */
export const stackVariable = "CASEFLOW_STACK";

const endingPatienceMs = 10_000;
const killPatienceMs = 5_000;
const lookEveryMs = 50;

/**
 * Waits for services that a killed stack of this folder left behind: the kernel has told them to stop, and they may still
 * be finishing. Whatever is there after ten seconds is killed. Call it with the folder locked.
 */
export async function clearLeftovers(home: string, patienceMs = endingPatienceMs): Promise<void> {
  const until = performance.now() + patienceMs;
  let pids = await findLeftovers(home);
  while (pids.length > 0) {
    if (performance.now() > until) pids.forEach(killIfThere);
    if (performance.now() > until + killPatienceMs) {
      throw new Error(`processes ${pids.join(", ")} of a killed stack do not end`);
    }
    await delay(lookEveryMs);
    pids = await findLeftovers(home);
  }
}

/** Process ids of the services of the folder's stack; Linux only. */
export async function findLeftovers(home: string): Promise<number[]> {
  const entries = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const marked = await Promise.all(
    entries.map(async (pid) => {
      // Unreadable: it has gone, or belongs to somebody else and cannot be ours.
      const environment = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
      return environment.split("\0").includes(`${stackVariable}=${home}`);
    }),
  );
  return entries.filter((_, index) => marked[index]).map(Number);
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended meanwhile, which is all we want of it.
  }
}
