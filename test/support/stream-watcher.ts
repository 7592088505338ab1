import type { CallOptions } from "@connectrpc/connect";
import { refusalOf } from "./reason-of.ts";

/** Longer than any test. */
const timeoutMs = 600_000;

/** One stream, open until disposed or ended by the service. */
export interface StreamWatcher<M> extends AsyncDisposable {
  /** Every message so far. */
  readonly messages: readonly M[];
  /** The last token received. */
  readonly resumeToken: string;
  /** How the stream ended, as `refusalOf` says it. */
  readonly ended: Promise<string>;
  /** Waits until `isEnough` is true of the messages; throws when the stream ends before. */
  until(isEnough: (messages: readonly M[]) => boolean): Promise<void>;
  /** Ends it from this side, at once. */
  cut(): Promise<void>;
}

/** Starts a stream of messages that each have a token to resume from. */
export function watchStream<M extends { readonly resumeToken: string }>(
  open: (options: CallOptions) => AsyncIterable<M>,
  resumeToken: string,
): StreamWatcher<M> {
  const cutting = new AbortController();
  const messages: M[] = [];
  let told = Promise.withResolvers<void>();
  const take = async (): Promise<void> => {
    for await (const message of open({ signal: cutting.signal, timeoutMs })) {
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
      const early = ended.then((how) => Promise.reject(new Error(`the stream ended: ${how}`)));
      early.catch(() => {}); // Told by the race below, while it is on.
      while (!isEnough(messages)) await Promise.race([told.promise, early]);
    },
    [Symbol.asyncDispose]: cut,
  };
}
