/** Loggers share one listener on each, for as long as one of them has not been collected. */
const ofLogs: ReadonlySet<string | symbol> = new Set(["exit", "beforeExit"]);

/** Counts from now on the listeners put on this process, and the warnings that an emitter has too many. */
export function watchListeners(): Disposable & { left(): string[] } {
  const before = countListeners();
  const warned: string[] = [];
  const onWarning = (warning: Error): void => {
    if (warning.name === "MaxListenersExceededWarning") warned.push(warning.message);
  };
  process.on("warning", onWarning);
  return {
    left() {
      const more = [...countListeners()].flatMap(([event, count]) => {
        const own = event === "warning" ? 1 : 0;
        const extra = count - own - (before.get(event) ?? 0);
        return extra > 0 ? [`process listener on ${String(event)}, ${extra} more than before`] : [];
      });
      return [...more, ...warned];
    },
    [Symbol.dispose]: () => void process.off("warning", onWarning),
  };
}

function countListeners(): Map<string | symbol, number> {
  const events = process.eventNames().filter((event) => !ofLogs.has(event));
  return new Map(events.map((event) => [event, process.listenerCount(event)]));
}
