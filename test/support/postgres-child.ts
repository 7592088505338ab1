/**
 * A PostgreSQL started by a process of its own, which can be killed and can be an ordinary user's.
 *
 * The same file is the fixture and, run by node, the process: it starts the server, writes one line of JSON, and stops
 * the server when its standard input ends.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { access } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { startPostgres } from "#libs/postgres-server/start-postgres.ts";

export interface PostgresChild extends AsyncDisposable {
  /** Of the server. */
  readonly pid: number;
  readonly superuserUrl: string;
  /** Ends the parent with SIGKILL, and waits for that alone. */
  killParent(): Promise<void>;
}

/** Only root can start one for another user. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

interface Order {
  readonly home: string;
  readonly owner: Owner | undefined;
  /** Used when the owner may not read this project, whose embedded PostgreSQL he then cannot copy. */
  readonly readableBin: string;
}

/** Starts a server in a child process; disposing it stops both. `readableBin` is the `bin` folder of a PostgreSQL. */
export async function startPostgresChild(order: Order): Promise<PostgresChild> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), JSON.stringify(order)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  const [line] = (await Promise.race([
    once(createInterface(child.stdout), "line"),
    ended.then(([code]) => Promise.reject(new Error(`the child ended with ${String(code)}`))),
  ])) as [string];
  const told = JSON.parse(line) as { pid: number; superuserUrl: string }; // Written by `run`, below.
  return {
    ...told,
    async killParent() {
      child.kill("SIGKILL");
      await ended;
    },
    async [Symbol.asyncDispose]() {
      child.stdin.destroy();
      await ended;
    },
  };
}

async function run({ home, owner, readableBin }: Order): Promise<void> {
  if (owner !== undefined) become(owner);
  const readable = await access(join(import.meta.dirname, "../../node_modules")).then(
    () => true,
    () => false,
  );
  await using server = await startPostgres({
    home,
    fsync: false,
    ...(readable ? {} : { nativeDir: readableBin }),
  });
  const told = { pid: server.pid, superuserUrl: server.url("postgres", "postgres") };
  process.stdout.write(`${JSON.stringify(told)}\n`);
  process.stdin.resume();
  await once(process.stdin, "close");
}

/** For good: there is no way back to root. Everything this needs has been loaded by now. */
function become({ uid, gid }: Owner): void {
  process.setgroups?.([]);
  process.setgid?.(gid);
  process.setuid?.(uid);
}

if (import.meta.main) await run(JSON.parse(process.argv[2] ?? "") as Order); // Given by `startPostgresChild`.
