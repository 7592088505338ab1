/* Run before a service: `node --import ./libs/telemetry/register.ts services/x/main.ts`. Starts tracing, if it is on. */
import { isMainThread } from "node:worker_threads";
import { startTelemetry } from "./sdk.ts";

if (isMainThread) await startTelemetry(process.env);
