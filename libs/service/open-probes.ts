import type { DescService } from "@bufbuild/protobuf";
import { createHealth, type Health } from "#libs/rpc/health.ts";
import type { OperatorPages } from "#libs/rpc/operator-pages.ts";
import { listenForOperations } from "#libs/rpc/operations-server.ts";
import { renderMetrics } from "#libs/telemetry/metrics.ts";
import { watchReadiness } from "./readiness-gauge.ts";
import type { Release } from "./release.ts";

export interface ProbesOptions {
  readonly host: string;
  readonly metricsPort: number;
  readonly release: Release;
  /** Each has its own name in health. */
  readonly services: readonly DescService[];
}

/** What tells how a service is, from before it starts until it has stopped. */
export interface Probes extends AsyncDisposable {
  /** What `/readyz` tells, and `grpc.health.v1` once it is served. */
  readonly health: Health;
  readonly metricsUrl: string;
  /** Starting has come to its end; dependencies have no say in that. */
  started(): void;
  /** Has the metrics port give these pages from now on. */
  showOperators(pages: OperatorPages): void;
}

/**
 * Opens the metrics port. To be opened before anything else and closed after everything else, since whoever gets no answer from
 * `/livez` may kill the process. Throws `PortTakenError`.
 */
export async function openProbes({ host, metricsPort, release, services }: ProbesOptions): Promise<Probes> {
  const health = createHealth(services.map(({ typeName }) => typeName));
  let isStarted = false;
  let operatorPages: OperatorPages | undefined;
  const operations = await listenForOperations({
    ...release,
    host,
    port: metricsPort,
    isStarted: () => isStarted,
    isReady: () => health.isServing(),
    metrics: renderMetrics,
    operatorPages: (request, response) => operatorPages?.(request, response) ?? false,
  });
  const gauge = watchReadiness(() => health.isServing());
  return {
    health,
    metricsUrl: operations.url,
    started: () => {
      isStarted = true;
    },
    showOperators: (pages) => {
      operatorPages = pages;
    },
    async [Symbol.asyncDispose]() {
      gauge[Symbol.dispose]();
      await operations[Symbol.asyncDispose]();
    },
  };
}
