import { spawn } from "node:child_process";
import { once } from "node:events";
import { open, readFile, rename } from "node:fs/promises";

export interface ServiceProcess extends AsyncDisposable {
  readonly name: string;
  readonly pid: number;
  /** Settles when it has ended, with how: `with exit code 1`, `by SIGKILL`. Never rejects. */
  readonly ended: Promise<string>;
  /** What it wrote since it was started. */
  readLog(): Promise<string>;
}

export interface ServiceOptions {
  readonly name: string;
  /** Arguments for Node. */
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  /** Takes stdout and stderr; the log of the start before is kept beside it as `*.previous.log`. */
  readonly logFile: string;
}

/** Above what the services take to stop, with the drain that they have unless told otherwise, whatever is frozen or away. */
const stopMs = 35_000;
/** We may die before `setpriv` has asked to be told of it; then we are no longer the parent. */
const unlessOrphaned = '[ "$PPID" = "$0" ] && exec "$@"';

/**
 * Starts a service as a process of its own, in its own process group: a terminal's Ctrl-C does not reach it, and it is
 * stopped by disposal alone (SIGTERM, after 35 s SIGKILL). Should we die without disposing, however that comes about, the
 * kernel sends it SIGTERM.
 */
export async function startService(options: ServiceOptions): Promise<ServiceProcess> {
  await rename(options.logFile, options.logFile.replace(/\.log$/, ".previous.log")).catch(ignoreAbsence);
  const log = await open(options.logFile, "ax", 0o600);
  const guarded = ["/bin/sh", "-c", unlessOrphaned, String(process.pid), process.execPath, ...options.args];
  const child = spawn("setpriv", ["--pdeathsig", "TERM", "--", ...guarded], {
    cwd: options.cwd,
    env: options.env,
    detached: true,
    stdio: ["ignore", log.fd, log.fd],
  });
  const ended = new Promise<string>((settle) => {
    child.once("exit", (code, signal) => settle(signal ? `by ${signal}` : `with exit code ${code}`));
  });
  try {
    await once(child, "spawn");
  } finally {
    await log.close();
  }
  const pid = child.pid ?? 0; // Known once spawned.
  return {
    name: options.name,
    pid,
    ended,
    readLog: () => readFile(options.logFile, "utf8"),
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGTERM");
      const kill = setTimeout(() => child.kill("SIGKILL"), stopMs);
      await ended;
      clearTimeout(kill);
    },
  };
}

/**
 * The last lines of a log of JSON lines, in words: the message, and the error's where there is one. Of a log that tells of
 * anything out of the ordinary, only that.
 */
export function lastWords(log: string, count: number): string[] {
  const lines = log.split("\n").filter((line) => line.trim() !== "");
  const unusual = lines.filter((line) => !/^\{"level":"(?:trace|debug|info)"/.test(line));
  return (unusual.length > 0 ? unusual : lines).slice(-count).map(toWords);
}

function toWords(line: string): string {
  try {
    const entry: { msg?: string; err?: { message?: string } } = JSON.parse(line);
    const words = [entry.msg, entry.err?.message].filter((part) => part !== undefined);
    return words.length > 0 ? words.join(": ") : line;
  } catch {
    return line; // Not one of ours: Node's own words about a crash.
  }
}

function ignoreAbsence(error: unknown): void {
  if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
}
