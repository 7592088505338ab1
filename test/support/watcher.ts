import type { CaseClient } from "#libs/client/case-client.ts";
import type { WatchCasesResponse } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { refusalOf } from "./reason-of.ts";

/** Longer than any test. */
const timeoutMs = 600_000;

/** One watch, open until disposed or ended by the service. */
export interface Watcher extends AsyncDisposable {
  /** Every message so far. */
  readonly messages: readonly WatchCasesResponse[];
  /** The last token received. */
  readonly resumeToken: string;
  /** How the stream ended, as `refusalOf` says it. */
  readonly ended: Promise<string>;
  /** Waits until `isEnough` is true of the messages; throws when the stream ends before. */
  until(isEnough: (messages: readonly WatchCasesResponse[]) => boolean): Promise<void>;
  /** Ends it from this side, at once. */
  cut(): Promise<void>;
}

/** Starts a watch and waits for its first message, which is only a token. */
export async function openWatch(client: CaseClient, resumeToken = ""): Promise<Watcher> {
  const watcher = startWatch(client, resumeToken);
  await watcher.until((messages) => messages.length > 0);
  return watcher;
}

/** Starts a watch. */
export function startWatch(client: CaseClient, resumeToken = ""): Watcher {
  const cutting = new AbortController();
  const messages: WatchCasesResponse[] = [];
  let told = Promise.withResolvers<void>();
  const take = async (): Promise<void> => {
    for await (const message of client.watchCases({ resumeToken }, { signal: cutting.signal, timeoutMs })) {
      messages.push(message);
      told.resolve();
      told = Promise.withResolvers();
    }
  };
  const ended = refusalOf(take());
  const cut = async (): Promise<void> => {
    cutting.abort();
    await ended;
  };
  return {
    messages,
    ended,
    cut,
    get resumeToken() {
      return messages.at(-1)?.resumeToken ?? resumeToken;
    },
    async until(isEnough) {
      const early = ended.then((how) => Promise.reject(new Error(`the watch ended: ${how}`)));
      early.catch(() => {}); // Told by the race below, while it is on.
      while (!isEnough(messages)) await Promise.race([told.promise, early]);
    },
    [Symbol.asyncDispose]: cut,
  };
}
