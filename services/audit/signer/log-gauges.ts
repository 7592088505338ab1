import { metrics, type ObservableResult } from "@opentelemetry/api";

/** How far a log was signed when it was looked at. */
export interface LookedAt {
  readonly tenantId: string;
  readonly size: number;
  /** Leaves that the newest checkpoint covers; 0: there is none. */
  readonly signed: number;
}

export interface LogGauges extends Disposable {
  /** The signer has looked at every log. */
  seen(logs: readonly LookedAt[]): void;
}

/** What was seen longer ago says nothing any more. */
const staleMs = 15_000;

/**
 * Tells of all logs together what the signer's poll saw last, until it is disposed: so a scrape costs the database nothing. A log waits
 * for its next checkpoint from the first look that finds leaves which none covers; a checkpoint that came meanwhile begins it anew.
 */
export function watchLogs(nowMs = () => performance.now()): LogGauges {
  const meter = metrics.getMeter("caseflow.log");
  const sizes = meter.createObservableGauge("audit.log.size", { description: "Events in all logs together" });
  const ages = meter.createObservableGauge("audit.checkpoint.age", {
    description:
      "How long the log that waits longest has had events which its newest checkpoint does not cover; 0 when all are covered",
    unit: "s",
  });
  let waiting = new Map<string, { readonly signed: number; readonly since: number }>();
  let last: { readonly at: number; readonly size: number } | undefined;
  const known = () => (last && nowMs() - last.at <= staleMs ? last : undefined);
  const observeSize = (result: ObservableResult): void => {
    const found = known();
    if (found) result.observe(found.size);
  };
  const observeAge = (result: ObservableResult): void => {
    if (!known()) return;
    const now = nowMs();
    const since = waiting.values().reduce((first, log) => Math.min(first, log.since), now);
    result.observe((now - since) / 1_000);
  };
  sizes.addCallback(observeSize);
  ages.addCallback(observeAge);
  return {
    seen(logs) {
      const at = nowMs();
      const uncovered = logs.filter(({ size, signed }) => size > signed);
      waiting = new Map(
        uncovered.map(({ tenantId, signed }) => {
          const before = waiting.get(tenantId);
          return [tenantId, before?.signed === signed ? before : { signed, since: at }];
        }),
      );
      last = { at, size: logs.reduce((sum, { size }) => sum + size, 0) };
    },
    [Symbol.dispose]() {
      sizes.removeCallback(observeSize);
      ages.removeCallback(observeAge);
    },
  };
}
