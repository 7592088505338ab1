/**
 * A real PostgreSQL server for development and tests: out of an npm package, on a Unix socket only, without passwords.
 *
 *   home      <home>/postgres (see data-dir.ts), <home>/postgres.log
 *   shared    /var/tmp/caseflow-<uid>/: the programs, sockets, and root's data (see shared-folder.ts)
 *   who       the user who starts it; `nobody` when that is root, which PostgreSQL refuses
 *
 * It never outlives the process that started it (see run-detached.ts), and a start waits for one that is just ending.
 */
import { chmod, chown, mkdir, realpath, utimes } from "node:fs/promises";
import { createHash } from "node:crypto";
import { join } from "node:path";

import { type Account, chooseAccount } from "./account.ts";
import { provideBinaries } from "./binaries.ts";
import { openDataDir } from "./data-dir.ts";
import { fillDataDir } from "./fill-data-dir.ts";
import { launch } from "./launch.ts";
import { openLog } from "./log-file.ts";
import { asUnwritable } from "./postgres-server-error.ts";
import { endedWithin, type Detached } from "./run-detached.ts";
import { openSharedFolder, type SharedFolder, sharedFolderPath } from "./shared-folder.ts";
import { socketUrl } from "./socket-url.ts";
import { sweep } from "./sweep.ts";

export interface PostgresOptions {
  /** Made if need be. Everything that lasts belongs to it: two homes are two servers. */
  readonly home: string;
  /** Whether a commit survives a crash of the machine; on unless told otherwise. A crash of the server it always does. */
  readonly fsync?: boolean;
  /** 100 when absent. */
  readonly maxConnections?: number;
  /** Further settings of `postgresql.conf`; they win over ours. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Called at the start of each step that may take a while. */
  readonly onProgress?: (line: string) => void;
  /** The `bin` folder of another PostgreSQL, from version 15 on, used in place of the embedded one. */
  readonly nativeDir?: string;
}

/** Disposing it stops it, and leaves the data. */
export interface PostgresServer extends AsyncDisposable {
  readonly pid: number;
  readonly socketDir: string;
  readonly logFile: string;
  /** For `pg` and for libpq. The superuser is `postgres`, and so is the one database of a new server. */
  url(user: string, database: string): string;
  /** Settles when the server has ended, on request or not, with its exit status or signal in words. */
  readonly ended: Promise<string>;
}

/** Fast shutdown: transactions are rolled back, connections closed, a checkpoint written. */
const fastStopMs = 15_000;
/** Immediate shutdown, in which PostgreSQL itself kills its children after 5 s; the next start recovers. */
const immediateStopMs = 8_000;

/** Starts the server of `home` and waits until it answers. Throws `PostgresServerError`. */
export async function startPostgres(options: PostgresOptions): Promise<PostgresServer> {
  const { onProgress = () => {}, fsync = true } = options;
  const account = await chooseAccount();
  const home = await openHome(options.home);
  const uid = process.geteuid?.() ?? 0;
  const shared = await openSharedFolder(sharedFolderPath(uid), uid);
  const bin = options.nativeDir ?? (await provideBinaries(shared, onProgress));
  await using log = await openLog(home, join(home, "postgres.log"));
  const installation = { bin, account, log, fsync };
  const fill = (folder: string) => {
    onProgress("making a database folder");
    return fillDataDir(installation, folder);
  };
  const dataDir = await openDataDir({ home, account, shared, fill, onProgress });
  await sweep(home, shared);
  const socketDir = await openSocketDir(shared, dataDir, account);
  const settings = toSettings(options, fsync);
  const program = await launch(installation, { home, dataDir, socketDir, settings });
  return toServer(program, socketDir, log.path);
}

async function openHome(path: string): Promise<string> {
  return asUnwritable(path, async () => {
    await mkdir(path, { recursive: true, mode: 0o700 });
    return realpath(path);
  });
}

/** One a data folder, and always the same, so that clients find the server again when it has been restarted. */
export function socketDirOf(shared: SharedFolder, dataDir: string): string {
  return join(shared.sockets, createHash("sha256").update(dataDir).digest("hex").slice(0, 16));
}

async function openSocketDir(shared: SharedFolder, dataDir: string, account: Account): Promise<string> {
  const path = socketDirOf(shared, dataDir);
  return asUnwritable(path, async () => {
    await mkdir(path, { recursive: true, mode: 0o700 });
    await chmod(path, 0o700);
    await chown(path, account.uid, account.gid);
    await utimes(path, new Date(), new Date()); // A sweep leaves it alone.
    return path;
  });
}

function toSettings(options: PostgresOptions, fsync: boolean): Record<string, string> {
  return {
    listen_addresses: "",
    unix_socket_permissions: "0700",
    max_connections: String(options.maxConnections ?? 100),
    log_checkpoints: "off",
    // Full pages in the log mend writes that a crash of the machine tore; without fsync there is nothing to mend.
    ...(fsync ? {} : { fsync: "off", full_page_writes: "off" }),
    ...options.settings,
  };
}

function toServer(program: Detached, socketDir: string, logFile: string): PostgresServer {
  let stopped: Promise<void> | undefined;
  return {
    pid: program.pid,
    socketDir,
    logFile,
    url: (user, database) => socketUrl(socketDir, user, database),
    ended: program.ended,
    [Symbol.asyncDispose]: () => (stopped ??= stop(program)),
  };
}

async function stop(program: Detached): Promise<void> {
  const steps = [
    ["SIGINT", fastStopMs],
    ["SIGQUIT", immediateStopMs],
  ] as const;
  for (const [signal, patienceMs] of steps) {
    program.kill(signal);
    if ((await endedWithin(program, patienceMs)) !== undefined) return;
  }
  program.kill("SIGKILL");
  await program.ended;
}
