import { setTimeout as pause } from "node:timers/promises";

const lookEveryMs = 20;

/** Looks until it is so. The test's own time limit ends it; what is looked at has no event to wait for. */
export async function waitUntil(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await pause(lookEveryMs);
}
