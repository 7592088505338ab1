import { once } from "node:events";
import { createLog } from "#libs/telemetry/log.ts";
import { startMetrics } from "#libs/telemetry/metrics.ts";
import { readConfig } from "#services/case/config.ts";
import { start } from "#services/case/main.ts";

/* The case service as its own main runs it. Without `BENCH_METRICS` nothing is measured: what is counted goes nowhere. */

const { env } = process;
const config = readConfig(env);
const release = { version: "0.0.0-bench", commit: "bench" };
if (env["BENCH_METRICS"] === "on") await startMetrics(env, { name: "case-bench", ...release });
const log = createLog({ service: "case-bench", ...release, level: config.logLevel });
await using service = await start(config, release, log);
console.log(JSON.stringify({ msg: "listening", url: service.url, metricsUrl: service.metricsUrl }));
await once(process, "SIGTERM");
