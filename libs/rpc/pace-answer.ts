import { whenAborted } from "./when-aborted.ts";

export interface Pace {
  /** How long the caller may take for a piece of 256 KiB, and in the end for what is still on its way; in milliseconds. */
  readonly unreadMs: number;
  /** Called when that is over. */
  readonly giveUp: () => void;
  /** Aborted once the caller has it all, or has gone. */
  readonly gone: AbortSignal;
}

const pieceBytes = 256 * 1024;

/**
 * The same bytes, cut so that a caller who is slow can be told from one who takes nothing. (The timeouts of Node's own
 * streams cannot: they outlive their stream, and see no progress within a chunk.) Time in which there is nothing to take
 * does not count.
 */
export async function* paceAnswer(
  answer: AsyncIterable<Uint8Array>,
  { unreadMs, giveUp, gone }: Pace,
): AsyncIterable<Uint8Array> {
  let timer: NodeJS.Timeout | undefined;
  whenAborted(gone, () => clearTimeout(timer));
  const wait = () => {
    if (!gone.aborted) timer = setTimeout(giveUp, unreadMs).unref();
  };
  for await (const chunk of answer) {
    for (let at = 0; at < chunk.length; at += pieceBytes) {
      wait();
      yield chunk.subarray(at, at + pieceBytes);
      clearTimeout(timer);
    }
  }
  wait();
}
