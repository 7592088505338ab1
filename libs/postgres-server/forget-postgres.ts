import { lstat, realpath, rm } from "node:fs/promises";
import { dirname, join } from "node:path";

import { dataLink, deleteData } from "./home-marker.ts";
import { waitForTurn } from "./launch.ts";
import { asUnwritable } from "./postgres-server-error.ts";
import { openSharedFolder, sharedFolderPath } from "./shared-folder.ts";
import { socketDirOf } from "./start-postgres.ts";

/**
 * Deletes the data of `home`, and the server's log: the next start begins with none. Without data it does nothing.
 *
 * Throws `already_running` when a server works on it, and `unwritable` when it is somebody else's.
 */
export async function forgetPostgres({ home }: { readonly home: string }): Promise<void> {
  const uid = process.geteuid?.() ?? 0;
  const shared = await openSharedFolder(sharedFolderPath(uid), uid);
  await asUnwritable(home, async () => {
    const link = dataLink(home);
    const dataDir = await realpath(link).catch(() => undefined);
    if (dataDir !== undefined) {
      await waitForTurn(home, dataDir, Date.now());
      await rm(socketDirOf(shared, dataDir), { recursive: true, force: true });
      if (dirname(dataDir) === shared.data) await deleteData(dataDir);
    }
    const isThere = await lstat(link).then(
      () => true,
      () => false,
    );
    if (isThere) await rm(link, { recursive: true });
    for (const name of ["postgres.log", "postgres.log.previous"]) await rm(join(home, name), { force: true });
  });
}
