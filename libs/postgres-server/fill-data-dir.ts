import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

import type { Account } from "./account.ts";
import type { LogFile } from "./log-file.ts";
import { endedWithin, runDetached } from "./run-detached.ts";
import { toStartError } from "./start-error.ts";

const fillMs = 120_000;
const versionMs = 10_000;

/** The first version with a locale provider that needs no locale on the machine. */
const builtinLocaleSince = 17;

export interface Installation {
  /** The folder of `initdb` and `postgres`. */
  readonly bin: string;
  readonly account: Account;
  readonly log: LogFile;
  /** Whether data is forced to the disk. */
  readonly fsync: boolean;
}

/**
 * Makes a cluster in an empty folder: superuser `postgres`, no passwords, UTF-8, code point order. Interrupted, `initdb`
 * empties the folder again.
 */
export async function fillDataDir(installation: Installation, folder: string): Promise<void> {
  const { bin, account, log, fsync } = installation;
  const initdb = join(bin, "initdb");
  const fixed = [
    "--username=postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--data-checksums",
    "--no-instructions",
  ];
  const locale = ["--locale=C"];
  if ((await readMajorVersion(initdb)) >= builtinLocaleSince) {
    locale.push("--locale-provider=builtin", "--builtin-locale=C.UTF-8");
  }
  const sync = fsync ? [] : ["--no-sync"];
  const program = await runDetached(account, log.fd, initdb, [
    `--pgdata=${folder}`,
    ...fixed,
    ...locale,
    ...sync,
  ]);
  const ending = await endedWithin(program, fillMs);
  if (ending === "exit status 0") return;
  program.kill("SIGKILL");
  await program.ended;
  throw await toStartError(
    `initdb did not make a database folder (${ending ?? `${fillMs} ms went by`})`,
    log,
  );
}

/** `initdb (PostgreSQL) 15.18 (Debian 15.18-1)` is 15. */
async function readMajorVersion(initdb: string): Promise<number> {
  const { stdout } = await promisify(execFile)(initdb, ["--version"], { timeout: versionMs });
  const major = /\(PostgreSQL\) (\d+)/.exec(stdout)?.[1];
  if (major === undefined) throw new Error(`${initdb} does not tell its version: ${stdout.trim()}`);
  return Number(major);
}
