/*
 * A stream that follows what is appended somewhere, each item once, also across breaks.
 *
 *   start    the place that the caller names, or the present end; the first message tells the place
 *   read     a page of items behind the place
 *   give     one message an item, with the place behind it; the next page is read once the caller has taken them all
 *   wait     until the bell rings, or for the poll; a quiet stream tells its place now and then
 *
 * Nothing is kept between reads but the place, so a slow caller costs no memory, and after any break the caller's last place
 * says where to go on. A stream ends when the right of its caller does, and when the service stops.
 */
import { setTimeout as pause } from "node:timers/promises";
import type { Bell } from "#libs/bell/bell.ts";
import { type Listener, listeningMs, type StreamEnds } from "./listener.ts";

/** Where a stream reads; `P` is a place to go on from. */
export interface FollowSource<P, I> {
  readonly start: () => Promise<P>;
  readonly readBehind: (place: P) => Promise<FollowPage<P, I>>;
}

export interface FollowPage<P, I> {
  /** In order, each with the place behind it. */
  readonly steps: readonly { readonly item: I; readonly place: P }[];
  /** Where to go on when there were none: as far as the read has seen. */
  readonly end: P;
}

export interface FollowStep<P, I> {
  /** `undefined` in a message that only tells the place. */
  readonly item: I | undefined;
  readonly place: P;
}

export interface FollowOptions extends StreamEnds {
  readonly stopping: AbortSignal;
  readonly listener: Listener;
  /** Rings when there may be something new. */
  readonly bell: Bell;
  /** How long to wait for the bell. */
  readonly pollMs: number;
  /** So long after its last message a quiet stream tells its place: resuming from there skips what was of no concern. */
  readonly placeEveryMs: number;
}

/** Looks follow each other no closer: many changes make one look. */
const quietMs = 20;

/** Throws what `listeningMs`, `verifyAgain` and the source do. */
export async function* follow<P, I>(
  { listener, bell, pollMs, placeEveryMs, ...ends }: FollowOptions,
  source: FollowSource<P, I>,
): AsyncIterable<FollowStep<P, I>> {
  const leftMs = (): number => listeningMs(listener, ends);
  const ended = AbortSignal.any([listener.signal, ends.stopping]);

  leftMs();
  let place: P = await source.start();
  yield { item: undefined, place };
  let toldAt = performance.now();
  for (;;) {
    leftMs();
    await listener.verifyAgain();
    const { steps, end } = await source.readBehind(place);
    for (const step of steps) {
      leftMs(); // The caller may have taken long over the message before.
      place = step.place;
      yield step;
      toldAt = performance.now();
    }
    if (steps.length > 0) continue;
    place = end;
    if (performance.now() - toldAt >= placeEveryMs) {
      yield { item: undefined, place };
      toldAt = performance.now();
    }
    await pause(quietMs);
    await bell.wait(Math.min(pollMs, leftMs()), ended);
  }
}
