import type { CaseClient } from "#libs/client/case-client.ts";
import type { WatchCasesResponse } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { watchStream, type StreamWatcher } from "./stream-watcher.ts";

export type Watcher = StreamWatcher<WatchCasesResponse>;

/** Starts a watch and waits for its first message, which is only a token. */
export async function openWatch(client: CaseClient, resumeToken = ""): Promise<Watcher> {
  const watcher = startWatch(client, resumeToken);
  await watcher.until((messages) => messages.length > 0);
  return watcher;
}

/** Starts a watch. */
export function startWatch(client: CaseClient, resumeToken = ""): Watcher {
  return watchStream((options) => client.watchCases({ resumeToken }, options), resumeToken);
}
