import { chown, mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { forgetPostgres } from "#libs/postgres-server/forget-postgres.ts";

import { keepOutput } from "./kept-output.ts";

export interface TemporaryHome extends AsyncDisposable {
  /** A home that does not exist yet, below a folder that its owner alone may enter. */
  readonly path: string;
}

/**
 * A home for a PostgreSQL of a test's own. Stop the server first: disposing the home deletes everything, root's data in
 * the shared folder too. `owner` makes it that user's, which only root can.
 */
export async function makeTemporaryHome(owner?: {
  readonly uid: number;
  readonly gid: number;
}): Promise<TemporaryHome> {
  const closed = await mkdtemp(join(tmpdir(), "caseflow-home-")); // Mode 0700.
  const parent = join(closed, "project");
  await mkdir(parent);
  if (owner !== undefined) {
    await chown(closed, owner.uid, owner.gid);
    await chown(parent, owner.uid, owner.gid);
  }
  const path = join(parent, ".caseflow");
  return {
    path,
    async [Symbol.asyncDispose]() {
      for (const name of await readdir(join(path, "logs")).catch(() => []))
        if (/^(case|audit)\./.test(name)) keepOutput(await readFile(join(path, "logs", name), "utf8"));
      await forgetPostgres({ home: path });
      await rm(closed, { recursive: true, force: true });
    },
  };
}
