import { Code, ConnectError } from "@connectrpc/connect";
import { v5 } from "uuid";
import type { CaseAdminClient } from "#libs/client/case-admin-client.ts";

import { Failure } from "../failure.ts";

export interface Requeuer {
  /** Queues it with others, sooner or later. */
  add(eventId: string): Promise<void>;
  /** Queues what is left; returns how many were queued in all. */
  finish(): Promise<number>;
}

const batchMax = 500;
/** So often the same entries may be lost in the time for which the service keeps its answers. */
const attemptsMax = 100;
/** Namespace (RFC 9562) of the request ids of batches. */
const namespace = "d0c6a4b1-52f6-4f0e-8f5c-3f3a1c9b7e42";

/** Queues entries for delivery again, in batches. */
export function createRequeuer(admin: CaseAdminClient): Requeuer {
  let batch: string[] = [];
  let count = 0;
  const flush = async (): Promise<void> => {
    count += (await requeue(admin, batch)).length;
    batch = [];
  };
  return {
    async add(eventId) {
      batch.push(eventId);
      if (batch.length === batchMax) await flush();
    },
    async finish() {
      if (batch.length > 0) await flush();
      return count;
    },
  };
}

/**
 * The same entries are asked for under the same request id, whoever runs the command, so that two runs at once, and a run that is
 * repeated, queue them once. A request that was answered before has had its effect, and yet its entries are missing: they were
 * lost again, and are asked for under the next id.
 */
async function requeue(admin: CaseAdminClient, eventIds: readonly string[]): Promise<readonly string[]> {
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    const requestId = v5(JSON.stringify([attempt, ...eventIds]), namespace);
    let replayed = false;
    const onHeader = (headers: Headers) => (replayed = headers.get("caseflow-replayed") === "true");
    try {
      const answer = await admin.requeueEntries({ requestId, eventIds: [...eventIds] }, { onHeader });
      if (!replayed) return answer.requeuedEventIds;
    } catch (error) {
      if (!(error instanceof ConnectError) || error.code !== Code.AlreadyExists) throw error;
    }
  }
  throw new Failure(`the same entries were queued ${attemptsMax} times within days, and are still missing`);
}
