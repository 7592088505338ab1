/**
 * `npm start`: the whole product on this machine, until a signal.
 *
 * SIGINT or SIGTERM stops it cleanly, exit 0; a second one ends it at once (130 or 143). SIGHUP stops it too: that is what
 * the kernel sends when npm, our parent, is killed, perhaps more than once, so that a second one means nothing. Whatever
 * ends us, the kernel then tells services and PostgreSQL to stop.
 *
 * npm runs us in a session of our own: a terminal's Ctrl-C reaches npm alone, which passes it on.
 */
import { parseArgs } from "node:util";

import { ConfigError } from "#libs/config/read-settings.ts";

import { type LocalConfig, readConfig } from "./config.ts";
import { describeStack } from "./describe-stack.ts";
import { createProgress } from "./progress.ts";
import { StartFailure } from "./start-failure.ts";
import { startStack } from "./start-stack.ts";

const exitCodeBySignal = { SIGINT: 130, SIGTERM: 143 } as const;

/** Whatever is written once the terminal has gone is lost, and that is no reason to end badly. */
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});

process.exitCode = await run();
process.exit();

/** Returns the exit code. */
async function run(): Promise<number> {
  const stop = listenForSignals();
  try {
    const { config, reset } = readCommand();
    console.log(`The local stack, with everything below ${config.home}\n`);
    const progress = createProgress((text) => process.stdout.write(text));
    await using running = await startStack({ config, reset, progress, signal: stop });
    console.log(`\nReady.\n\n${describeStack(running.stack, config.home, process.cwd())}`);
    const failure = await Promise.race([running.failed, whenAborted(stop)]);
    if (failure) throw failure;
    console.log("\nStopping …");
  } catch (error) {
    if (stop.aborted && error === stop.reason) return 0; // Told to stop while starting: nothing is left running.
    console.error(`\n${explain(error)}`);
    return 1;
  }
  console.log("Stopped. The data stays.");
  return 0;
}

function readCommand(): { config: LocalConfig; reset: boolean } {
  const { values } = parseArgs({ options: { reset: { type: "boolean", default: false } } });
  return { config: readConfig(), reset: values.reset };
}

/** The signal is aborted by the first that asks us to stop; the second ends the process. */
function listenForSignals(): AbortSignal {
  const stop = new AbortController();
  for (const [signal, exitCode] of Object.entries(exitCodeBySignal)) {
    process.on(signal, () => {
      if (stop.signal.aborted) process.exit(exitCode);
      stop.abort();
    });
  }
  process.on("SIGHUP", () => stop.abort());
  return stop.signal;
}

function whenAborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((aborted) => {
    if (signal.aborted) aborted(undefined);
    signal.addEventListener("abort", () => aborted(undefined), { once: true });
  });
}

function explain(error: unknown): string {
  if (error instanceof StartFailure || error instanceof ConfigError) return error.message;
  if (error instanceof TypeError && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS")) {
    return `${error.message}; the one option is --reset`;
  }
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
