import { setTimeout as sleep } from "node:timers/promises";
import { watchConnections } from "./leak-connections.ts";
import { watchFiles } from "./leak-files.ts";
import { watchHandles } from "./leak-handles.ts";
import { watchListeners } from "./leak-listeners.ts";

export interface LeakWatch extends Disposable {
  /**
   * What was opened since and is open still, one line each: sockets, servers, timers, child processes, files, process
   * listeners; and the connections and transactions that databases had when they were dropped. Whatever is about to close
   * has `graceMs` for it.
   */
  left(graceMs?: number): Promise<readonly string[]>;
}

/** A socket that was destroyed, or a process that was killed, takes a moment to be gone; on a busy machine a long one. */
const patienceMs = 20_000;
const lookEveryMs = 5;

/** Watches this process from now on, one watch at a time. Who has left a database has `hangUpMs` to be gone before its drop. */
export function watchLeaks(hangUpMs = patienceMs): LeakWatch {
  const watches = [watchHandles(), watchFiles(), watchListeners(), watchConnections(hangUpMs)];
  const look = (): readonly string[] => watches.flatMap((watch) => watch.left());
  return {
    async left(graceMs = patienceMs) {
      const until = performance.now() + graceMs;
      while (look().length > 0 && performance.now() < until) await sleep(lookEveryMs);
      return look();
    },
    [Symbol.dispose]() {
      for (const watch of watches) watch[Symbol.dispose]();
    },
  };
}
