import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { keepOutput } from "./kept-output.ts";
import { processEnv } from "./process-env.ts";

/** A process of a service, from its first moment on. */
export interface SpawnedService extends AsyncDisposable {
  readonly pid: number;
  /** Its log lines so far, and what it wrote on stderr. */
  readonly lines: readonly string[];
  /** The exit code, or the signal's name. */
  readonly ended: Promise<number | string>;
  signal(signal: NodeJS.Signals): void;
  /** The first log line with this message; rejects when the process ends without it, or it takes 20 seconds. */
  said(msg: string): Promise<LogLine>;
}

export interface LogLine extends Readonly<Record<string, unknown>> {
  readonly msg: string;
}

/** A service as a process of its own, as it runs in production. */
export interface ServiceProcess extends AsyncDisposable {
  readonly url: string;
  readonly metricsUrl: string;
  readonly pid: number;
  /** Its log lines so far. */
  readonly lines: readonly string[];
  /** Sends a signal and waits for the end; returns the exit code, or the signal's name. */
  end(signal: NodeJS.Signals): Promise<number | string>;
}

const patienceMs = 20_000;

/** Starts `main` (a path from the repository's root) with tracing as `env` says. */
export function spawnService(main: string, env: Readonly<Record<string, string>>): SpawnedService {
  const child = spawn(process.execPath, ["--import", "./libs/telemetry/register.ts", main], {
    env: { ...processEnv, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines: string[] = [];
  const looks = new Set<(line: string) => void>();
  for (const stream of [child.stdout, child.stderr]) createInterface(stream).on("line", keepOutput);
  createInterface(child.stderr).on("line", (line) => lines.push(line));
  createInterface(child.stdout).on("line", (line) => {
    lines.push(line);
    for (const look of looks) look(line);
  });
  // `close` comes once all that it wrote has been read.
  const ended = once(child, "close").then(([code, signal]: unknown[]) => (signal ?? code) as number | string);
  return {
    pid: child.pid!,
    lines,
    ended,
    signal: (signal) => void child.kill(signal),
    async said(msg) {
      const { promise, resolve, reject } = Promise.withResolvers<LogLine>();
      const look = (line: string) => {
        const entry: LogLine = line.startsWith("{") ? JSON.parse(line) : { msg: "" };
        if (entry.msg === msg) resolve(entry);
      };
      const fail = (why: string) => reject(new Error(`${main} ${why} before "${msg}":\n${lines.join("\n")}`));
      const timer = setTimeout(fail, patienceMs, `took ${patienceMs} ms`);
      void ended.then((how) => fail(`ended with ${how}`));
      looks.add(look);
      lines.forEach(look);
      try {
        return await promise;
      } finally {
        clearTimeout(timer);
        looks.delete(look);
      }
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** Starts `main` as `spawnService` does, and waits until it listens. */
export async function startServiceProcess(
  main: string,
  env: Readonly<Record<string, string>>,
): Promise<ServiceProcess> {
  const { pid, lines, ended, signal, said, [Symbol.asyncDispose]: kill } = spawnService(main, env);
  const end = (name: NodeJS.Signals): Promise<number | string> => {
    signal(name);
    return ended;
  };
  try {
    const { url, metricsUrl } = await said("listening");
    return { url: String(url), metricsUrl: String(metricsUrl), pid, lines, end, [Symbol.asyncDispose]: kill };
  } catch (error) {
    await kill();
    throw error;
  }
}
