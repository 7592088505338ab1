import { type Attributes, metrics } from "@opentelemetry/api";

/** Upper bounds of the buckets of what somebody waits for. */
const waitSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
/** And of what goes on behind everybody's back, for hours when something is down. */
export const backgroundSeconds = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 120, 600, 3_600, 21_600,
];

/** Counts a duration in the histogram. */
export type RecordDuration = (durationMs: number, attributes: Attributes) => void;

/** A histogram of durations in seconds. `/metrics` adds `_seconds` to its name, as collectors do. */
export function createDurations(
  scope: string,
  name: string,
  description: string,
  explicitBucketBoundaries: number[] = waitSeconds,
): RecordDuration {
  const histogram = metrics
    .getMeter(scope)
    .createHistogram(name, { description, unit: "s", advice: { explicitBucketBoundaries } });
  return (durationMs, attributes) => histogram.record(durationMs / 1_000, attributes);
}
