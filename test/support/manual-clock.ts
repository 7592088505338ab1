import type { Clock } from "#libs/resilience/clock.ts";

/** A clock that stands still until it is told otherwise. */
export interface ManualClock extends Clock {
  /** Moves on, runs what is due, in order, and lets what it woke go on. */
  advance(ms: number): Promise<void>;
  /** Timers that are set. */
  timers(): number;
  /** What `random` gives from now on; 0.5 at first. */
  chance: number;
}

export function createManualClock(): ManualClock {
  let now = 0;
  const timers = new Set<{ readonly at: number; readonly run: () => void }>();
  const clock: ManualClock = {
    chance: 0.5,
    now: () => now,
    random: () => clock.chance,
    after(ms, run) {
      const timer = { at: now + ms, run };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
    timers: () => timers.size,
    async advance(ms) {
      await settle();
      const until = now + ms;
      for (;;) {
        const [next] = [...timers].filter(({ at }) => at <= until).toSorted((a, b) => a.at - b.at);
        if (!next) break;
        timers.delete(next);
        now = Math.max(now, next.at);
        next.run();
        await settle();
      }
      now = until;
    },
  };
  return clock;
}

/** Lets everything run that waits for nothing but promises. */
function settle(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}
