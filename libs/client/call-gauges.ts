import { metrics, type ObservableResult } from "@opentelemetry/api";
import type { BreakerState } from "#libs/resilience/circuit-breaker.ts";

/** What of a client has a value at any moment. */
export interface ClientState {
  /** Of each method that was called. */
  breakers(): Iterable<readonly [method: string, state: BreakerState]>;
  /** `undefined`: retries have no budget. */
  retriesLeft(): number | undefined;
}

const stateNumbers: Readonly<Record<BreakerState, number>> = { closed: 0, "half-open": 1, open: 2 };

/** Tells a client's state until it is disposed. */
export function watchClient(dependency: string, state: ClientState): Disposable {
  const meter = metrics.getMeter("caseflow.client");
  const breaker = meter.createObservableGauge("circuit_breaker.state", {
    description: "0 closed, 1 half-open, 2 open",
  });
  const budget = meter.createObservableGauge("retry_budget.left", {
    description: "Retries that the client may make at once",
  });
  const observeBreakers = (result: ObservableResult): void => {
    for (const [method, now] of state.breakers()) result.observe(stateNumbers[now], { dependency, method });
  };
  const observeBudget = (result: ObservableResult): void => {
    const left = state.retriesLeft();
    if (left !== undefined) result.observe(left, { dependency });
  };
  breaker.addCallback(observeBreakers);
  budget.addCallback(observeBudget);
  return {
    [Symbol.dispose]() {
      breaker.removeCallback(observeBreakers);
      budget.removeCallback(observeBudget);
    },
  };
}
