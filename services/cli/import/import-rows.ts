import { importCase, type CaseImport } from "./import-case.ts";

/** Cases at a time: enough to keep a service busy, few enough to leave it to others too. */
const casesAtATime = 8;

/**
 * Imports every staged case, a few at a time, the rows of one after the other. Returns when all are done or, stopped by
 * `stop`, when what was under way is. The first fault stops the others likewise, and is thrown.
 */
export async function importRows(import_: Omit<CaseImport, "signal">, stop: AbortController): Promise<void> {
  const { signal } = stop;
  let lastKey = "";
  const next = (): string | undefined => {
    const key = import_.staging.nextCase(lastKey);
    if (key !== undefined) lastKey = key;
    return key;
  };
  const work = async (): Promise<void> => {
    try {
      for (let key = next(); key !== undefined && !signal.aborted; key = next()) {
        await importCase(key, { ...import_, signal });
      }
    } catch (error) {
      if (signal.aborted) return; // It was waiting for the service, and need not wait on.
      stop.abort(error);
      throw error;
    }
  };
  const endings = await Promise.allSettled(Array.from({ length: casesAtATime }, work));
  const failed = endings.find((ending) => ending.status === "rejected");
  if (failed) throw failed.reason;
}
