import {
  constants,
  monitorEventLoopDelay,
  type PerformanceEntry,
  PerformanceObserver,
} from "node:perf_hooks";
import { metrics } from "@opentelemetry/api";
import { createDurations } from "./durations.ts";

/** Percentiles are of the last such time or so, whoever asks and how often. */
const delayWindowMs = 5_000;
const delayResolutionMs = 20;

const gcKinds: Readonly<Record<number, string>> = {
  [constants.NODE_PERFORMANCE_GC_MAJOR]: "major",
  [constants.NODE_PERFORMANCE_GC_MINOR]: "minor",
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: "incremental",
  [constants.NODE_PERFORMANCE_GC_WEAKCB]: "weakcb",
};

/** What entries of type `gc` are, which the types of Node leave open. */
interface GcEntry extends PerformanceEntry {
  readonly detail: { readonly kind: number };
}

/** Watches the event loop and the garbage collector for as long as the process lives. Names: OpenTelemetry semantic conventions. */
export function watchRuntime(): void {
  watchEventLoop();
  const recordGc = createDurations("runtime", "v8js.gc.duration", "Garbage collections, by kind");
  new PerformanceObserver((list) => {
    // Only collections are observed, and Node's types do not know their detail.
    for (const entry of list.getEntries() as unknown as readonly GcEntry[])
      recordGc(entry.duration, { "v8js.gc.type": gcKinds[entry.detail.kind] ?? "other" });
  }).observe({ entryTypes: ["gc"] });
}

function watchEventLoop(): void {
  const meter = metrics.getMeter("runtime");
  const histogram = monitorEventLoopDelay({ resolution: delayResolutionMs });
  histogram.enable();
  let delays = { p50: 0, p99: 0, max: 0 };
  let takenAt = -Infinity;
  const gaugeOf = (name: keyof typeof delays, description: string) =>
    meter
      .createObservableGauge(`nodejs.eventloop.delay.${name}`, { description, unit: "s" })
      .addCallback((result) => {
        if (performance.now() - takenAt >= delayWindowMs && histogram.count > 0) {
          const [p50, p99] = [histogram.percentile(50), histogram.percentile(99)];
          delays = { p50: p50 / 1e9, p99: p99 / 1e9, max: histogram.max / 1e9 };
          takenAt = performance.now();
          histogram.reset();
        }
        result.observe(delays[name]);
      });
  gaugeOf("p50", "How late timers of the event loop are, the median of the last seconds");
  gaugeOf("p99", "How late timers of the event loop are, the 99th percentile of the last seconds");
  gaugeOf("max", "How late timers of the event loop are, the latest of the last seconds");
}
