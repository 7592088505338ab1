/*
 * What a process measures, for whoever scrapes `/metrics` and, where an OTLP endpoint is set, for a collector.
 *
 * Instruments are named as OpenTelemetry has it: with dots, without unit and `_total`. In Prometheus' text format they have both, as
 * collectors write them: `rpc.server.duration` in `s` is `rpc_server_duration_seconds`.
 */
import type {
  IMetricReader,
  InstrumentType,
  MetricProducer,
  PushMetricExporter,
  ResourceMetrics,
} from "@opentelemetry/sdk-metrics";
import { metrics } from "@opentelemetry/api";
import { watchRuntime } from "./runtime-metrics.ts";

type Environment = Readonly<Record<string, string | undefined>>;

export interface MeasuredService {
  readonly name: string;
  readonly version: string;
  readonly commit: string;
}

interface Running {
  render(): Promise<string>;
  shutdown(): Promise<void>;
}

let running: Running | undefined;

/** Gauges that are not read by then are left out; everything else is there. */
const collectTimeoutMs = 1_500;
const exportIntervalMs = 60_000;

/**
 * Starts measuring, once a process. Instruments are to be made afterwards. Metrics go out by OTLP as the standard settings say:
 * `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_PROTOCOL` and their like for metrics alone, `OTEL_METRIC_EXPORT_INTERVAL`;
 * not with `OTEL_METRICS_EXPORTER=none`. `env` is the process's own environment: the exporter reads it too.
 */
export async function startMetrics(env: Environment, service: MeasuredService): Promise<void> {
  if (running) return;
  const [sdk, resources, prometheus] = await Promise.all([
    import("@opentelemetry/sdk-metrics"),
    import("@opentelemetry/resources"),
    import("@opentelemetry/exporter-prometheus"),
  ]);
  // A cumulative gauge would go on saying what it said last after nobody can tell any more.
  const temporalityOf = (type: InstrumentType) =>
    type === sdk.InstrumentType.OBSERVABLE_GAUGE
      ? sdk.AggregationTemporality.DELTA
      : sdk.AggregationTemporality.CUMULATIVE;
  const { promise: producer, resolve } = Promise.withResolvers<MetricProducer>();
  const reader: IMetricReader = {
    setMetricProducer: resolve,
    selectAggregation: () => ({ type: sdk.AggregationType.DEFAULT }),
    selectAggregationTemporality: temporalityOf,
    selectCardinalityLimit: () => seriesMax,
    collect: async () => (await producer).collect({ timeoutMillis: collectTimeoutMs }),
    shutdown: async () => {},
    forceFlush: async () => {},
  };
  const readers: IMetricReader[] = [reader];
  const exporter = isExported(env) ? await openExporter(env) : undefined;
  if (exporter) {
    const givenMs = Number(env["OTEL_METRIC_EXPORT_INTERVAL"]);
    const exportIntervalMillis = givenMs > 0 ? givenMs : exportIntervalMs;
    const told = Object.assign(exporter, { selectAggregationTemporality: temporalityOf });
    readers.push(new sdk.PeriodicExportingMetricReader({ exporter: told, exportIntervalMillis }));
  }
  const named = resources.resourceFromAttributes({
    "service.name": service.name,
    "service.version": service.version,
  });
  const detected = resources.detectResources({ detectors: [resources.envDetector] });
  const provider = new sdk.MeterProvider({
    resource: resources.defaultResource().merge(named).merge(detected),
    readers,
  });
  metrics.setGlobalMeterProvider(provider);
  const serializer = new prometheus.PrometheusSerializer(undefined, false, undefined, true, true);
  running = {
    render: shareWhileRunning(async () =>
      serializer.serialize(withUnits((await reader.collect()).resourceMetrics)),
    ),
    shutdown: () => provider.shutdown(),
  };
  tellBuild(service);
  watchRuntime();
}

/** In Prometheus' text format 0.0.4; `undefined` where nothing is measured. Takes at most about `collectTimeoutMs`. */
export async function renderMetrics(): Promise<string | undefined> {
  return running?.render();
}

/** Sends what was measured last, if it is sent at all, and ends it. */
export async function shutdownMetrics(): Promise<void> {
  const ending = running;
  running = undefined;
  if (!ending) return;
  await ending.shutdown();
  metrics.disable();
}

/** The last line of defence: labels are of few values by themselves. What is above shows as `otel_metric_overflow`. */
const seriesMax = 2_000;

function isExported(env: Environment): boolean {
  const endpoint = env["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"] || env["OTEL_EXPORTER_OTLP_ENDPOINT"];
  if (!endpoint?.trim() || env["OTEL_SDK_DISABLED"]?.trim().toLowerCase() === "true") return false;
  return env["OTEL_METRICS_EXPORTER"]?.trim() !== "none";
}

async function openExporter(env: Environment): Promise<PushMetricExporter> {
  const protocol = env["OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"] || env["OTEL_EXPORTER_OTLP_PROTOCOL"];
  switch (protocol?.trim()) {
    case "grpc":
      return new (await import("@opentelemetry/exporter-metrics-otlp-grpc")).OTLPMetricExporter();
    case "http/json":
      return new (await import("@opentelemetry/exporter-metrics-otlp-http")).OTLPMetricExporter();
    default:
      return new (await import("@opentelemetry/exporter-metrics-otlp-proto")).OTLPMetricExporter();
  }
}

/** Whoever asks while it runs gets the same answer. */
function shareWhileRunning(work: () => Promise<string>): () => Promise<string> {
  let shared: Promise<string> | undefined;
  return () =>
    (shared ??= work().finally(() => {
      shared = undefined;
    }));
}

/** The serializer adds `_total` by itself, and no units. */
function withUnits(all: ResourceMetrics): ResourceMetrics {
  const scopeMetrics = all.scopeMetrics.map((scope) => ({
    ...scope,
    metrics: scope.metrics.map((metric) => {
      const { name, unit } = metric.descriptor;
      const descriptor = { ...metric.descriptor, name: unit === "s" ? `${name}_seconds` : name, unit: "" };
      return { ...metric, descriptor };
    }),
  }));
  return { ...all, scopeMetrics };
}

function tellBuild({ version, commit }: MeasuredService): void {
  metrics
    .getMeter("build")
    .createObservableGauge("build.info", { description: "Always 1; the labels tell which build runs" })
    .addCallback((result) => result.observe(1, { version, commit }));
}
