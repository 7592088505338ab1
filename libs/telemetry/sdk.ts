import { shutdownMetrics } from "./metrics.ts";

interface Sdk {
  shutdown(): Promise<void>;
}

let running: Sdk | undefined;

/**
 * Starts tracing as the standard `OTEL_*` settings say, if they name an OTLP endpoint; otherwise it loads nothing.
 * `env` is the process's own environment: the SDK reads it too.
 *
 * Spans go out over OTLP (protobuf over HTTP unless `OTEL_EXPORTER_OTLP_PROTOCOL` says otherwise), W3C trace context
 * comes in and goes on. Metrics are `startMetrics`'s, and logs are not exported. There is no automatic instrumentation: it costs a third of
 * the throughput, and spans made by hand a tenth.
 */
export async function startTelemetry(env: Readonly<Record<string, string | undefined>>): Promise<void> {
  if (running || !isWanted(env)) return;
  const { NodeSDK } = await import("@opentelemetry/sdk-node");
  const sdk = new NodeSDK({ metricReaders: [], logRecordProcessors: [], instrumentations: [] });
  sdk.start();
  running = sdk;
}

/**
 * Sends the spans and measurements still held back, for at most `timeoutMs`, and ends tracing and measuring. Does nothing the second
 * time. Never throws.
 *
 * A request to a collector that does not answer outlives the limit, and keeps a process that is not told to exit alive
 * for `OTEL_EXPORTER_OTLP_TIMEOUT` (10 s when not set).
 */
export async function shutdownTelemetry(timeoutMs: number): Promise<void> {
  const sdk = running;
  running = undefined;
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, timeoutMs);
  const sent = Promise.allSettled([sdk?.shutdown(), shutdownMetrics()]); // A collector that is away must not keep a service from stopping.
  await Promise.race([sent, late]);
  clearTimeout(timer);
}

function isWanted(env: Readonly<Record<string, string | undefined>>): boolean {
  const endpoint = env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] || env["OTEL_EXPORTER_OTLP_ENDPOINT"];
  if (!endpoint?.trim() || env["OTEL_SDK_DISABLED"]?.trim().toLowerCase() === "true") return false;
  return env["OTEL_TRACES_EXPORTER"]?.trim() !== "none";
}
