import { metrics, type ObservableResult } from "@opentelemetry/api";

/** Tells whether calls should be sent here, as `/readyz` does, until it is disposed. */
export function watchReadiness(isReady: () => boolean): Disposable {
  const gauge = metrics.getMeter("service").createObservableGauge("service.ready", {
    description: "1 when calls should be sent here, else 0, as /readyz says",
  });
  const observe = (result: ObservableResult): void => result.observe(isReady() ? 1 : 0);
  gauge.addCallback(observe);
  return { [Symbol.dispose]: () => gauge.removeCallback(observe) };
}
