import { metrics, type Meter } from "@opentelemetry/api";

/** What was counted, by the counter's name and its attributes' values: `name value … → sum`. */
export interface CountedMetrics extends Disposable {
  readonly counts: Map<string, number>;
}

/** Counts in memory what counters are given that are made from here on, until it is disposed. One at a time in a process. */
export function countMetrics(): CountedMetrics {
  const counts = new Map<string, number>();
  const createCounter = (name: string) => ({
    add(value: number, attributes: Record<string, unknown> = {}) {
      const key = [name, ...Object.values(attributes)].join(" ");
      counts.set(key, (counts.get(key) ?? 0) + value);
    },
  });
  // Counters are all that is asked of a meter here.
  metrics.setGlobalMeterProvider({ getMeter: () => ({ createCounter }) as unknown as Meter });
  return { counts, [Symbol.dispose]: () => metrics.disable() };
}
