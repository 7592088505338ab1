import { setTimeout as pause } from "node:timers/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type { AuditClient } from "#libs/client/audit-client.ts";
import type { AuditedEvent, EventFilterSchema } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";

/** One stream's time, in milliseconds: a deadline is resumed from like any other break. */
const streamMs = 12 * 3_600_000;
const pauseMs = { first: 200, most: 10_000 };
const temporary = new Set([Code.Unavailable, Code.DeadlineExceeded, Code.ResourceExhausted, Code.Aborted]);

/**
 * Every event that fits from now on, each once, also across breaks of the connection, which are told to `onBreak`. Ends when `signal`
 * is aborted; throws what trying again does not help against, such as a token that has expired.
 */
export async function* followEvents(
  audit: AuditClient,
  filter: MessageInitShape<typeof EventFilterSchema>,
  signal: AbortSignal,
  onBreak: (error: ConnectError) => void,
): AsyncGenerator<AuditedEvent> {
  let resumeToken = "";
  let waitMs = pauseMs.first;
  while (!signal.aborted) {
    try {
      for await (const message of audit.tailEvents(
        { filter, resumeToken },
        { signal, timeoutMs: streamMs },
      )) {
        resumeToken = message.resumeToken;
        waitMs = pauseMs.first;
        if (message.event) yield message.event;
      }
    } catch (cause) {
      if (signal.aborted) return;
      const error = ConnectError.from(cause);
      if (!temporary.has(error.code)) throw error;
      onBreak(error);
    }
    await pause(waitMs, undefined, { signal }).catch(() => {}); // Aborted, which the loop looks at.
    waitMs = Math.min(2 * waitMs, pauseMs.most);
  }
}
