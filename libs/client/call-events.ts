import { Code } from "@connectrpc/connect";
import { metrics, trace } from "@opentelemetry/api";
import type { BreakerState } from "#libs/resilience/circuit-breaker.ts";
import { codeName } from "#libs/rpc/code-name.ts";
import { createDurations } from "#libs/telemetry/durations.ts";
import { type ClientState, watchClient } from "./call-gauges.ts";

/** What kept a call or another attempt from being made, without anything being sent. */
export type Refusal = "deadline" | "bulkhead" | "breaker" | "retry_budget";

/** What a client tells of its calls: each a metric, and an event on the span of the call it happens in. */
export interface CallEvents extends Disposable {
  /** What the client tells of itself when asked, until this is disposed. */
  watch(state: ClientState): void;
  /** An attempt has ended: with an answer, of a stream with its first message, or with its code. */
  attempt(method: string, code: Code | "ok", durationMs: number): void;
  retry(method: string, attempt: number, waitMs: number, code: Code): void;
  refusal(method: string, by: Refusal): void;
  breaker(method: string, to: BreakerState): void;
  address(url: string, healthy: boolean): void;
  renewal(url: string): void;
}

/**
 * Counters under `caseflow.client`, with target, method and outcome as their attributes: as many series as there are methods
 * times outcomes, and none by what callers send.
 */
export function createCallEvents(target: string): CallEvents {
  const meter = metrics.getMeter("caseflow.client");
  const counter = (name: string, description: string) =>
    meter.createCounter(`caseflow.client.${name}`, { description });
  const attempts = counter("attempts", "Attempts that have ended, by code");
  const retries = counter("retries", "Attempts after the first of a call, by the code that led to it");
  const refusals = counter("refusals", "Calls and attempts that were not made, by what refused them");
  const breakers = counter("breaker.changes", "State changes of circuit breakers, by the new state");
  const addresses = counter("address.changes", "Addresses found unhealthy, or healthy again");
  const renewals = counter("connection.renewals", "Connections replaced for their age");
  const recordDuration = createDurations(
    "caseflow.client",
    "dependency.request.duration",
    "How long attempts to call another service took, by its name and by how they ended",
  );
  const watches = new DisposableStack();
  const tell = (name: string, attributes: Record<string, string | number | boolean>) =>
    trace.getActiveSpan()?.addEvent(name, attributes);
  return {
    watch: (state) => void watches.use(watchClient(target, state)),
    attempt(method, code, durationMs) {
      const outcome = code === "ok" ? code : codeName(code);
      recordDuration(durationMs, { dependency: target, outcome });
      attempts.add(1, { target, method, code: nameOf(code) });
      tell("attempt", { code: nameOf(code) });
    },
    retry(method, attempt, waitMs, code) {
      retries.add(1, { target, method, code: nameOf(code) });
      tell("retry", { attempt, wait_ms: Math.round(waitMs), code: nameOf(code) });
    },
    refusal(method, by) {
      refusals.add(1, { target, method, by });
      tell("refused", { by });
    },
    breaker(method, to) {
      breakers.add(1, { target, method, to });
      tell("breaker", { to });
    },
    address(url, healthy) {
      addresses.add(1, { target, address: url, healthy });
      tell("address", { address: url, healthy });
    },
    renewal(url) {
      renewals.add(1, { target, address: url });
      tell("connection renewed", { address: url });
    },
    [Symbol.dispose]: () => watches.dispose(),
  };
}

function nameOf(code: Code | "ok"): string {
  return code === "ok" ? code : (Code[code] ?? "Unknown");
}
