/** Aborts `stop` at the first SIGINT or SIGTERM, with `reason`, and ends the process at the second; until disposed. */
export function stopOnSignal(stop: AbortController, reason?: Error): Disposable {
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stop.signal.aborted) process.exit(signal === "SIGINT" ? 130 : 143);
    stop.abort(reason);
  };
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  return {
    [Symbol.dispose]: () => void process.off("SIGINT", onSignal).off("SIGTERM", onSignal),
  };
}
