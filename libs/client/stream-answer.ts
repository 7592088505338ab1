import type { Message } from "@bufbuild/protobuf";
import type { StreamResponse, UnaryResponse } from "@connectrpc/connect";

/** The answer, of a stream once its first message is there or it has ended: until then it can still fail as a whole. */
export async function untilFirstMessage(
  pending: Promise<UnaryResponse | StreamResponse>,
): Promise<UnaryResponse | StreamResponse> {
  const response = await pending;
  if (!response.stream) return response;
  const steps = response.message[Symbol.asyncIterator]();
  const first = await steps.next();
  return { ...response, message: goOn(first, steps) };
}

async function* goOn(first: IteratorResult<Message>, steps: AsyncIterator<Message>): AsyncIterable<Message> {
  for (let step = first; !step.done; step = await steps.next()) yield step.value;
}

export interface StreamHooks {
  /** What is thrown in place of an error. */
  readonly toError: (error: unknown) => Error;
  /** Called once: at the end, at an error, or when `signal` is aborted, since nobody may read on after that. */
  readonly onEnd: () => void;
  readonly signal: AbortSignal;
}

/** The same messages, with somebody who watches for their end. */
export async function* watchStream(
  messages: AsyncIterable<Message>,
  { toError, onEnd, signal }: StreamHooks,
): AsyncIterable<Message> {
  try {
    yield* messages;
  } catch (error) {
    throw toError(error);
  } finally {
    signal.removeEventListener("abort", onEnd);
    onEnd();
  }
}
