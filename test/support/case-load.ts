import { setTimeout as pause } from "node:timers/promises";
import { ConnectError } from "@connectrpc/connect";
import type { CaseClient } from "#libs/client/case-client.ts";
import { content } from "./case-service.ts";

/** A steady load of writes and reads, each worker on cases of its own, one call after the other. */
export interface CaseLoad {
  /** Calls that were answered so far. */
  answered(): number;
  /** Ends it with the calls under way. */
  stop(): Promise<CaseLoadResult>;
}

export interface CaseLoadResult {
  /** What calls failed with, and how often. */
  readonly failures: Readonly<Record<string, number>>;
  /** The latest version of each case that a caller was told. */
  readonly versions: ReadonlyMap<string, number>;
}

/** Between two calls of a worker; in milliseconds. */
const paceMs = 15;
/** Then a worker takes another case. */
const updatesMax = 12;

/** Each write names the version that it expects: one that took effect twice, or of which the answer was lost, fails the next. */
export function startCaseLoad(client: CaseClient, workers: number): CaseLoad {
  const failures: Record<string, number> = {};
  const over = new AbortController();
  const versions = new Map<string, number>();
  let answered = 0;

  async function call<T>(name: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      const answer = await work();
      answered += 1;
      return answer;
    } catch (error) {
      const what = `${name}: ${ConnectError.from(error).message}`;
      failures[what] = (failures[what] ?? 0) + 1;
      return undefined;
    }
  }

  async function workOnOne(): Promise<void> {
    const created = await call("CreateCase", () => client.createCase({ caseType: "permit", content }));
    const caseId = created?.case?.caseId;
    if (caseId === undefined) return pause(paceMs);
    versions.set(caseId, 1);
    for (let made = 1; made <= updatesMax && !over.signal.aborted; made++) {
      await pause(paceMs);
      const title = { content: { title: `title ${made}` }, updateMask: { paths: ["title"] } };
      const updated = await call("UpdateCase", () =>
        client.updateCase({ caseId, expectedVersion: made, ...title }),
      );
      if (!updated) return;
      versions.set(caseId, made + 1);
      await call("GetCase", async () => {
        const { case: found } = await client.getCase({ caseId });
        if (found?.version !== made + 1) throw new Error(`version ${found?.version} after ${made + 1}`);
      });
    }
  }

  const work = async (): Promise<void> => {
    while (!over.signal.aborted) await workOnOne();
  };
  const ended = Promise.all(Array.from({ length: workers }, work));
  return {
    answered: () => answered,
    async stop() {
      over.abort();
      await ended;
      return { failures, versions };
    },
  };
}
