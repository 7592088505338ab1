import type { Log } from "#libs/telemetry/log.ts";
import { shutdownTelemetry } from "#libs/telemetry/sdk.ts";

const flushMs = 2_000;

/** What a process's parent reads to learn where the service is: one log line with this message. */
export const listeningMessage = "listening";

/**
 * Runs a service as this process: starts it, waits for SIGTERM or SIGINT, disposes it, exits 0. A second signal ends the
 * process at once (143 or 130). A start that fails is logged, and exits 1.
 */
export async function runUntilSignal(log: Log, start: () => Promise<AsyncDisposable>): Promise<void> {
  const stop = Promise.withResolvers<NodeJS.Signals>();
  let signals = 0;
  for (const [signal, code] of [
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const) {
    process.on(signal, () => {
      if (++signals > 1) process.exit(code);
      stop.resolve(signal);
    });
  }
  try {
    const service = await start();
    const signal = await stop.promise;
    log.info({ signal }, "stopping");
    await service[Symbol.asyncDispose]();
    log.info("stopped");
  } catch (error) {
    log.fatal({ err: error }, error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
  await shutdownTelemetry(flushMs);
  log.flush();
  process.exit();
}
