import { createNoopMeter, metrics, type Attributes, type Meter } from "@opentelemetry/api";

/** What was counted, by the counter's name and its attributes' values: `name value … → sum`. */
export interface CountedMetrics extends Disposable {
  readonly counts: Map<string, number>;
}

/** Counts in memory what counters are given that are made from here on, until it is disposed. One at a time in a process. */
export function countMetrics(): CountedMetrics {
  const counts = new Map<string, number>();
  watchCounters((name, value, attributes) => {
    const key = [name, ...Object.values(attributes)].join(" ");
    counts.set(key, (counts.get(key) ?? 0) + value);
  });
  return { counts, [Symbol.dispose]: () => metrics.disable() };
}

/** Tells what counters are given that are made from here on, until metrics are disabled; other instruments tell nothing. */
export function watchCounters(onAdd: (name: string, value: number, attributes: Attributes) => void): void {
  const createCounter = (name: string) => ({
    add: (value: number, attributes: Attributes = {}) => onAdd(name, value, attributes),
  });
  // One of its own: the API has a single meter that does nothing, which tracing uses too.
  const silent = Object.create(createNoopMeter()) as Meter;
  metrics.setGlobalMeterProvider({ getMeter: () => Object.assign(silent, { createCounter }) });
}
