import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { openSession } from "#libs/pg/session.ts";

import { dropStaleLock, findHolder } from "./data-lock.ts";
import type { Installation } from "./fill-data-dir.ts";
import { PostgresServerError } from "./postgres-server-error.ts";
import { type Detached, runDetached } from "./run-detached.ts";
import { socketUrl } from "./socket-url.ts";
import { isLockedOut, toStartError } from "./start-error.ts";

export interface Launch {
  /** For messages. */
  readonly home: string;
  readonly dataDir: string;
  readonly socketDir: string;
  readonly settings: Readonly<Record<string, string>>;
}

/** From the server's start to its first answer; after a crash it replays its log in this time. */
const answerMs = 60_000;
const connectMs = 5_000;
const pollMs = 20;
/** How long a server that is ending, or the lock of one that has ended, is waited for. */
const endingPatienceMs = 15_000;
/** A server whose parent has just been killed may not have got its signal yet. */
const runningPatienceMs = 2_000;

/**
 * Runs `postgres` on the data folder until it answers.
 *
 * A server that still works there is waited for while it is ending, else it is `already_running`. A server that ends,
 * or does not answer in time, is `start_failed` or `locale`.
 */
export async function launch(installation: Installation, order: Launch): Promise<Detached> {
  const begunAt = Date.now();
  for (;;) {
    await waitForTurn(order.home, order.dataDir, begunAt);
    await dropStaleLock(order.dataDir, begunAt);
    const program = await runDetached(
      installation.account,
      installation.log.fd,
      join(installation.bin, "postgres"),
      toArguments(order),
    );
    const ending = await waitForAnswer(program, socketUrl(order.socketDir, "postgres", "postgres"));
    if (ending === "answered") return program;
    const locked = await isLockedOut(installation.log);
    if (!locked || Date.now() - begunAt > endingPatienceMs) {
      throw await toStartError(`PostgreSQL did not start (${ending})`, installation.log);
    }
    await delay(pollMs); // Another start came first, or the lock is of one that has just ended.
  }
}

/**
 * Waits until nobody works on the data folder, from `begunAt` (milliseconds since 1970) on: long for a server that is
 * ending, briefly for one that runs. Throws `already_running`.
 */
export async function waitForTurn(home: string, dataDir: string, begunAt: number): Promise<void> {
  for (;;) {
    const holder = await findHolder(dataDir);
    if (holder === undefined) return;
    const { pid, ending } = holder;
    if (Date.now() - begunAt > (ending ? endingPatienceMs : runningPatienceMs)) {
      const message = `another server is running with the data of ${home} (process ${pid})`;
      throw new PostgresServerError("already_running", message, { pid });
    }
    await delay(pollMs);
  }
}

function toArguments({ dataDir, socketDir, settings }: Launch): string[] {
  const given = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  return ["-D", dataDir, "-k", socketDir, ...given];
}

/** Gives `answered`, or how the program ended. Not answering in time, it is killed. */
async function waitForAnswer(program: Detached, url: string): Promise<string> {
  const until = Date.now() + answerMs;
  for (;;) {
    if (await answers(url, program.pid)) return "answered";
    const ending = await Promise.race([program.ended, delay(pollMs)]);
    if (ending !== undefined) return ending;
    if (Date.now() < until) continue;
    program.kill("SIGKILL");
    return `no answer within ${answerMs} ms, ${await program.ended}`;
  }
}

/** Whether the server with this process id answers: of two starts at once, both connect to the one that won. */
async function answers(url: string, pid: number): Promise<boolean> {
  const options = { url, applicationName: "start", connectTimeoutMs: connectMs, onError: ignore };
  try {
    await using session = await openSession(options);
    const { rows } = await session.query<{ lock: string }>("SELECT pg_read_file('postmaster.pid') AS lock");
    return Number.parseInt(rows[0]?.lock ?? "", 10) === pid;
  } catch {
    return false; // Not yet listening, or still recovering.
  }
}

/** Of a connection that dies: its query fails, and says so. */
function ignore(): void {}
