import { freePort } from "./free-port.ts";
import { spawnService, type SpawnedService } from "./service-process.ts";

/** A service that can be stopped and started again where it was. */
export interface Replica extends AsyncDisposable {
  readonly url: string;
  readonly metricsUrl: string;
  /** SIGTERM; returns how it ended. */
  stop(): Promise<number | string>;
  start(): Promise<void>;
}

/** Starts a replica of the case or the audit service on ports of its own, which it keeps. */
export async function startReplica(
  service: "case" | "audit",
  env: Readonly<Record<string, string>>,
): Promise<Replica> {
  const [port, metricsPort] = [await freePort(), await freePort()];
  const prefix = service.toUpperCase();
  const settings = {
    ...env,
    [`${prefix}_PORT`]: String(port),
    [`${prefix}_METRICS_PORT`]: String(metricsPort),
  };
  let running: SpawnedService | undefined;
  const start = async (): Promise<void> => {
    running = spawnService(`services/${service}/main.ts`, settings);
    await running.said("serving");
  };
  await start();
  return {
    url: `http://127.0.0.1:${port}`,
    metricsUrl: `http://127.0.0.1:${metricsPort}`,
    start,
    async stop() {
      running?.signal("SIGTERM");
      return running!.ended; // It was started, else nobody would have it.
    },
    [Symbol.asyncDispose]: async () => running?.[Symbol.asyncDispose](),
  };
}
