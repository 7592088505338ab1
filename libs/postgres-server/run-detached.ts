import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";

import type { Account } from "./account.ts";
import { PostgresServerError } from "./postgres-server-error.ts";

/** How a program ended, in words: `exit status 1`, `SIGKILL`. */
export type Ending = string;

export interface Detached {
  readonly pid: number;
  /** Settles when the program has ended, and never rejects. */
  readonly ended: Promise<Ending>;
  kill(signal: NodeJS.Signals): void;
}

/** Nothing of the caller's environment gets through: PGDATA, PGPORT, LC_ALL and others would change what is run. */
const environment = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin",
  LC_ALL: "C",
  TZ: "UTC",
};

/** The parent may die before `setpriv` has asked to be told of it; then it is no longer the parent. */
const unlessOrphaned = '[ "$PPID" = "$0" ] && exec "$@"';

/**
 * Runs a program as `account`, in a session of its own so that a terminal's Ctrl-C passes it by, and such that the
 * kernel interrupts it (SIGINT) when the thread that called this ends, however it ends. Output goes to `log`, an open
 * file descriptor.
 *
 * The process id is the program's own: each step on the way replaces itself.
 */
export async function runDetached(
  account: Account,
  log: number,
  command: string,
  args: readonly string[],
): Promise<Detached> {
  const { uid, gid } = account;
  const asWhom = account.switched ? [`--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"] : [];
  const guarded = ["/bin/sh", "-c", unlessOrphaned, String(process.pid), command, ...args];
  const child = spawn("setpriv", ["--pdeathsig", "INT", ...asWhom, "--", ...guarded], {
    cwd: "/", // The caller's own may be closed to the account.
    detached: true,
    env: environment,
    stdio: ["ignore", log, log],
  });
  const ended = once(child, "exit").then(([code, signal]) => toEnding(code, signal));
  ended.catch(() => {}); // Told below.
  try {
    await once(child, "spawn");
  } catch (error) {
    const message = "setpriv cannot be run: it belongs to util-linux, and is needed on the path";
    throw new PostgresServerError("unsupported_platform", message, { cause: error });
  }
  return { pid: pidOf(child), ended, kill: (signal) => void child.kill(signal) };
}

/** How the program ended, or `undefined` when it has not within `ms`. Leaves no timer behind. */
export async function endedWithin(program: Detached, ms: number): Promise<Ending | undefined> {
  const patience = new AbortController();
  const late = delay(ms, undefined, { signal: patience.signal }).catch(() => undefined);
  try {
    return await Promise.race([program.ended, late]);
  } finally {
    patience.abort();
  }
}

function toEnding(code: unknown, signal: unknown): Ending {
  return typeof signal === "string" ? signal : `exit status ${String(code)}`;
}

function pidOf(child: ChildProcess): number {
  if (child.pid === undefined) throw new Error("a spawned process has no id");
  return child.pid;
}
