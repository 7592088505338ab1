import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** The `bin` folder of a PostgreSQL 15 server on this machine; `undefined` when there is none. */
export async function findPostgres15(): Promise<string | undefined> {
  const folders = ["/usr/lib/postgresql/15/bin", "/usr/pgsql-15/bin", await configuredFolder()];
  for (const folder of folders) {
    if (folder === undefined || !existsSync(join(folder, "initdb"))) continue;
    if ((await majorVersionOf(folder)) === "15") return folder;
  }
  return undefined;
}

/** Where `pg_config` says that the programs are, when there is one on the path. */
async function configuredFolder(): Promise<string | undefined> {
  return run("pg_config", ["--bindir"]).then(
    ({ stdout }) => stdout.trim(),
    () => undefined,
  );
}

/** `15` of `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`. */
export async function majorVersionOf(folder: string): Promise<string | undefined> {
  return run(join(folder, "postgres"), ["--version"]).then(
    ({ stdout }) => /\(PostgreSQL\) (\d+)/.exec(stdout)?.[1],
    () => undefined,
  );
}
