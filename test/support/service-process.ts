import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { processEnv } from "./process-env.ts";

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

const startMs = 20_000;

/** Starts `main` (a path from the repository's root) with tracing as `env` says, and waits until it listens. */
export async function startServiceProcess(
  main: string,
  env: Readonly<Record<string, string>>,
): Promise<ServiceProcess> {
  const child = spawn(process.execPath, ["--import", "./libs/telemetry/register.ts", main], {
    env: { ...processEnv, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines: string[] = [];
  createInterface(child.stderr).on("line", (line) => lines.push(line));
  const ended = once(child, "exit").then(([code, signal]: unknown[]) => (signal ?? code) as number | string);
  const { url, metricsUrl } = await listening(child, lines);
  const end = (signal: NodeJS.Signals): Promise<number | string> => {
    child.kill(signal);
    return ended;
  };
  return {
    url,
    metricsUrl,
    pid: child.pid!,
    lines,
    end,
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) await end("SIGKILL");
    },
  };
}

function listening(child: ChildProcess, lines: string[]): Promise<{ url: string; metricsUrl: string }> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      child.kill("SIGKILL");
      reject(new Error(`the service ${why}:\n${lines.join("\n")}`));
    };
    const timer = setTimeout(() => fail(`did not listen within ${startMs} ms`), startMs);
    child.once("exit", (code) => fail(`ended with ${code}`));
    createInterface(child.stdout!).on("line", (line) => {
      lines.push(line);
      const entry: { msg?: string; url: string; metricsUrl: string } = line.startsWith("{")
        ? JSON.parse(line)
        : {};
      if (entry.msg !== "listening") return;
      clearTimeout(timer);
      resolve(entry);
    });
  });
}
