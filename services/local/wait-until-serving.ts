import { setTimeout as delay } from "node:timers/promises";

import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Health, HealthCheckResponse_ServingStatus } from "#libs/gen/grpc/health/v1/health_pb.ts";
import { createSessionManager } from "#libs/rpc/session-manager.ts";
import { listeningMessage } from "#libs/service/run-service.ts";

import { lastWords, type ServiceProcess } from "./service-process.ts";
import { StartFailure } from "./start-failure.ts";

export interface Addresses {
  readonly url: string;
  readonly metricsUrl: string;
}

const startTimeoutMs = 30_000;
const checkTimeoutMs = 1_000;
const pollMs = 25;
const wordsMax = 8;

/**
 * Waits until the service answers SERVING to a health check over gRPC, and returns where it listens. Throws `StartFailure`
 * with the service's last words when it ends first, or has not come so far after thirty seconds.
 */
export async function waitUntilServing(service: ServiceProcess, signal: AbortSignal): Promise<Addresses> {
  const until = performance.now() + startTimeoutMs;
  const over = new AbortController();
  const ended = service.ended.then(async (how) => {
    over.abort();
    return new StartFailure(await describeEnd(service, how));
  });
  while (!over.signal.aborted) {
    signal.throwIfAborted();
    const addresses = findAddresses(await service.readLog());
    if (addresses && (await isServing(addresses.url))) return addresses;
    if (performance.now() > until) {
      const words = lastWords(await service.readLog(), wordsMax);
      throw new StartFailure(
        [
          `the ${service.name} service is not ready after ${startTimeoutMs / 1_000} s; it said:`,
          ...words,
        ].join("\n  "),
      );
    }
    await delay(pollMs);
  }
  throw await ended;
}

/** How a service ended, and what it said last. */
export async function describeEnd(service: ServiceProcess, how: string): Promise<string> {
  const words = lastWords(await service.readLog(), wordsMax);
  return [`the ${service.name} service ended ${how}; it said:`, ...words].join("\n  ");
}

function findAddresses(log: string): Addresses | undefined {
  const line = log.split("\n").find((candidate) => candidate.includes(`"msg":"${listeningMessage}"`));
  if (line === undefined) return undefined;
  const { url, metricsUrl }: Addresses = JSON.parse(line);
  return { url, metricsUrl };
}

async function isServing(url: string): Promise<boolean> {
  using sessions = createSessionManager(url);
  const health = createClient(Health, createGrpcTransport({ baseUrl: url, sessionManager: sessions }));
  try {
    const { status } = await health.check({}, { timeoutMs: checkTimeoutMs });
    return status === HealthCheckResponse_ServingStatus.SERVING;
  } catch {
    return false; // Not yet.
  }
}
