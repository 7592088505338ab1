import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AuditClient } from "#libs/client/audit-client.ts";
import type {
  TailEventsRequestSchema,
  TailEventsResponse,
} from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { watchStream, type StreamWatcher } from "./stream-watcher.ts";

export type Tailer = StreamWatcher<TailEventsResponse>;
type Request = Exclude<MessageInitShape<typeof TailEventsRequestSchema>, { readonly $typeName: string }>;

/** Starts a tail and waits for its first message, which is only a token. */
export async function openTail(client: AuditClient, request: Request = {}): Promise<Tailer> {
  const tailer = startTail(client, request);
  await tailer.until((messages) => messages.length > 0);
  return tailer;
}

/** Starts a tail. */
export function startTail(client: AuditClient, request: Request = {}): Tailer {
  return watchStream((options) => client.tailEvents(request, options), request.resumeToken ?? "");
}

/** The leaf indexes of the events that came, in the order in which they came. */
export function leavesOf({ messages }: Pick<Tailer, "messages">): number[] {
  return messages.flatMap(({ event }) => (event ? [Number(event.leafIndex)] : []));
}
