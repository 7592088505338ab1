import { type ChildProcessByStdio, spawn } from "node:child_process";
import { readdir, readFile, readlink, realpath } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Readable, Writable } from "node:stream";

import { expect, vi } from "vitest";

import { readStack, type Stack } from "#libs/client/stack.ts";

/** A command that runs, with all it says. Disposing it kills it if it still runs, as a test that failed leaves it. */
export interface Command extends AsyncDisposable {
  readonly pid: number;
  /** Standard output and error so far, in the order they came. */
  output(): string;
  /** The exit code, or the signal's name. */
  readonly ended: Promise<number | string>;
  write(text: string): void;
  kill(signal: NodeJS.Signals): void;
}

export interface CommandOptions {
  readonly home: string;
  readonly env?: Readonly<Record<string, string>>;
}

export const root = resolve(import.meta.dirname, "../..");

/** A first start makes a database folder; two test files at a time share the machine. */
const startTimeoutMs = 45_000;
const goneTimeoutMs = 20_000;
const pollMs = 50;
const anyPorts = { CASE_PORT: "0", CASE_METRICS_PORT: "0", AUDIT_PORT: "0", AUDIT_METRICS_PORT: "0" };

/** Runs a command in the root of the repository, with the stack's folder and free ports in its environment. */
export function run(command: string, args: readonly string[], { home, env = {} }: CommandOptions): Command {
  const child: ChildProcessByStdio<Writable, Readable, Readable> = spawn(command, args, {
    cwd: root,
    env: { ...withoutSettings(process.env), ...anyPorts, CASEFLOW_HOME: home, ...env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const ended = new Promise<number | string>((settle, fail) => {
    child.once("error", fail);
    child.once("close", (code, signal) => settle(signal ?? code ?? -1));
  });
  return {
    pid: child.pid ?? 0,
    output: () => said,
    ended,
    write: (text) => void child.stdin.write(text),
    kill: (signal) => void child.kill(signal),
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** What whoever runs the tests has set for a stack of their own must not reach the tests' stacks, or theirs be touched. */
function withoutSettings(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const ours = /^(?:CASE|AUDIT|CASEFLOW|RELAY|OTEL)_|^(?:RELAY|LOG_LEVEL)$/;
  return Object.fromEntries(Object.entries(env).filter(([name]) => !ours.test(name)));
}

/** `npm start`, as people run it. */
export function npmStart(options: CommandOptions, ...args: string[]): Command {
  return run("npm", ["start", "--", ...args], options);
}

/** The same without npm around it, which takes a third of the time of a start that is refused. */
export function start(options: CommandOptions, ...args: string[]): Command {
  return run(process.execPath, ["services/local/start.ts", ...args], options);
}

/** Waits until the stack has told of itself. Fails with what it said when it ends instead. */
export async function untilReady(home: string, starting: Command): Promise<Stack> {
  let ending: number | string | undefined;
  void starting.ended.then((how) => (ending = how));
  const look = async () => {
    if (ending !== undefined) return undefined;
    expect(starting.output()).toContain("Ready."); // Until then the file may be that of a stack just killed.
    return readStack(home);
  };
  const stack = await vi.waitFor(look, { timeout: startTimeoutMs, interval: pollMs });
  if (!stack) throw new Error(`the stack ended (${ending}):\n${starting.output()}`);
  return stack;
}

/** Every process of the stack's: those with its folder in their environment, and PostgreSQL's in its data folder. */
export async function processesOf(home: string): Promise<number[]> {
  const entries = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  return filterProcesses(home, entries.map(Number));
}

async function filterProcesses(home: string, pids: readonly number[]): Promise<number[]> {
  const data = await realpath(join(home, "postgres")).catch(() => undefined);
  const isOurs = async (pid: number) => {
    const environment = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
    if (environment.split("\0").includes(`CASEFLOW_HOME=${home}`)) return true;
    return data !== undefined && (await readlink(`/proc/${pid}/cwd`).catch(() => "")) === data;
  };
  const ours = await Promise.all(pids.map(isOurs));
  return pids.filter((_, index) => ours[index]);
}

/** Waits until nothing of the stack runs any more. */
export async function untilGone(home: string): Promise<void> {
  let left = await processesOf(home);
  const look = async () => {
    left = await filterProcesses(home, left); // To look through all of the machine's takes half a core.
    if (left.length === 0) left = await processesOf(home);
    expect(left).toEqual([]);
  };
  await vi.waitFor(look, { timeout: goneTimeoutMs, interval: pollMs });
}
