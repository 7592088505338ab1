import type { AuditClient } from "#libs/client/audit-client.ts";
import type { AuditedEvent } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { encodeBase64 } from "#libs/merkle/base64.ts";
import { readCheckpoint } from "#libs/merkle/checkpoint.ts";

import { Failure } from "../failure.ts";
import { historyEventsMax } from "../verify/judge-history.ts";

/** Whose history: of any source that tells of the subject, unless one is named. */
export interface History {
  readonly subject: string;
  readonly source?: string;
  /** Events behind this leaf are left out. */
  readonly upToLeaf?: bigint;
}

const pageSize = 100;

/** The history of an event's subject up to the event. */
export async function proveHistoryUpTo(audit: AuditClient, eventId: string): Promise<string> {
  const { event: found } = await audit.getEvent({ eventId });
  if (!found?.event) throw new Error("the answer holds no event");
  const { subject, source } = found.event;
  return proveHistory(audit, { subject, source, upToLeaf: found.leafIndex });
}

/**
 * A subject's events in order, a line each with its inclusion proof, and the checkpoint that they are proved by: what `caseflow
 * verify` takes for a history. Events that no checkpoint covers yet are left out. What it says is not judged.
 */
export async function proveHistory(audit: AuditClient, history: History): Promise<string> {
  const { checkpoint } = await audit.getCheckpoint({});
  const { size } = readCheckpoint(checkpoint.slice(0, checkpoint.lastIndexOf("\n\n") + 1));
  if (history.upToLeaf !== undefined && history.upToLeaf >= BigInt(size)) {
    throw new Failure("no checkpoint covers the event yet: try again in a moment");
  }
  const lines: string[] = [];
  for await (const { eventBytes, leafIndex } of listEvents(audit, history)) {
    if (leafIndex > (history.upToLeaf ?? leafIndex) || leafIndex >= BigInt(size)) break;
    if (lines.length === historyEventsMax)
      throw new Failure(`a history of more than ${historyEventsMax} events is not proved`);
    const target = { case: "leafIndex", value: leafIndex } as const;
    const { hashes } = await audit.getInclusionProof({ target, treeSize: BigInt(size) });
    const proof = hashes.map(encodeBase64);
    lines.push(JSON.stringify({ leafIndex: Number(leafIndex), event: encodeBase64(eventBytes), proof }));
  }
  if (lines.length === 0) throw new Failure(`the log has no signed event of the subject ${history.subject}`);
  return [...lines, JSON.stringify({ checkpoint }), ""].join("\n");
}

async function* listEvents(
  audit: AuditClient,
  { subject, source = "" }: History,
): AsyncGenerator<AuditedEvent> {
  for (let pageToken = "", more = true; more; more = pageToken !== "") {
    const page = await audit.listEvents({ pageSize, pageToken, filter: { subject, source } });
    yield* page.events;
    pageToken = page.nextPageToken;
  }
}
