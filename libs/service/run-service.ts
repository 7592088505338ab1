import { ConfigError, type Environment } from "#libs/config/read-settings.ts";
import { describeError } from "#libs/telemetry/describe-error.ts";
import { createLog, type Log, type LogOptions } from "#libs/telemetry/log.ts";
import { startMetrics } from "#libs/telemetry/metrics.ts";
import { shutdownTelemetry } from "#libs/telemetry/sdk.ts";
import { readRelease, type Release } from "./release.ts";
import { stopSignal } from "./stop-signal.ts";

export interface ServiceConfig {
  readonly logLevel: LogOptions["level"];
  /** As `ServeOptions` has them; a process that serves nothing has neither. */
  readonly announceMs?: number;
  readonly drainMs?: number;
}

export interface ServiceDefinition<C extends ServiceConfig> {
  /** Stands in every log line, and in metrics that are sent unless `OTEL_SERVICE_NAME` does. */
  readonly name: string;
  /** Throws `ConfigError`. */
  readonly readConfig: (env: Environment) => C;
  /** What is to be told once it runs, such as where it listens, stands in `facts`. */
  readonly start: (config: C, release: Release, log: Log) => Promise<Running>;
}

export interface Running extends AsyncDisposable {
  readonly facts: Readonly<Record<string, string>>;
}

const flushMs = 2_000;
/** What stopping takes at most beside announcing and draining: above the sum of the limits that everything has that is disposed. */
const closingMs = 20_000;

/** What a process's parent reads to learn where the service is: one log line with this message and the facts. */
export const listeningMessage = "listening";

/**
 * Runs a service as this process: reads its settings, starts it, waits for SIGTERM or SIGINT, disposes it, exits 0. A signal while
 * it starts counts when it has started; a second one ends the process at once (143 or 130). Settings that will not do are told
 * on stderr, all of them; a start that fails is logged. Either exits 1, and so does a stop that outlasts every limit.
 */
export async function runService<C extends ServiceConfig>(
  env: Environment,
  { name, readConfig, start }: ServiceDefinition<C>,
): Promise<void> {
  const stop = stopSignal();
  const release = await readRelease(env);
  let config: C;
  try {
    config = readConfig(env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${name} cannot start:\n${error.message}\n`);
    process.exitCode = 1;
    return;
  }
  await startMetrics(env, { name, ...release });
  const log = createLog({ service: name, ...release, level: config.logLevel });
  // Node's own words about a crash would tell all that the error carries.
  process.on("uncaughtException", (error) => {
    log.fatal({ err: error }, "crashed");
    process.exit(1);
  });
  log.info("starting");
  const { announceMs = 0, drainMs = 0 } = config;
  void stop.then(() => limitStop(announceMs + drainMs + closingMs, log));
  try {
    const running = await start(config, release, log);
    log.info(running.facts, listeningMessage);
    log.info({ signal: await stop }, "stopping");
    await running[Symbol.asyncDispose]();
    log.info("stopped");
  } catch (error) {
    log.fatal({ err: error }, describeError(error).message);
    process.exitCode = 1;
  }
  await shutdownTelemetry(flushMs);
  log.flush();
  process.exit();
}

function limitStop(limitMs: number, log: Log): void {
  setTimeout(() => {
    log.fatal("stopping took too long");
    process.exit(1);
  }, limitMs).unref();
}
