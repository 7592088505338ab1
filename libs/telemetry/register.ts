/*
 * Run before a service: `node --import ./libs/telemetry/register.ts services/x/main.ts`. Takes the signals to stop before the service's
 * modules are loaded, which takes most of its start; then starts tracing, if it is on.
 */
import { isMainThread } from "node:worker_threads";
import { catchStopSignals } from "#libs/service/stop-signal.ts";

if (isMainThread) {
  catchStopSignals();
  const { startTelemetry } = await import("./sdk.ts");
  await startTelemetry(process.env);
}
