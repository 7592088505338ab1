import { chmod, lstat, mkdir, realpath } from "node:fs/promises";
import { join } from "node:path";

import { asUnwritable, PostgresServerError } from "./postgres-server-error.ts";

/**
 * A folder a user, under `/var/tmp`, for what cannot lie below a home: the server's files and, when root starts it, its
 * data (`nobody` cannot pass a home with mode 0700), and its socket (whose path is limited to 107 bytes).
 */
export interface SharedFolder {
  /** Without symbolic links, as are the others. */
  readonly path: string;
  /** Data folders of homes, each with a file beside it that names the home. Used by root alone. */
  readonly data: string;
  readonly sockets: string;
}

export function sharedFolderPath(uid: number): string {
  return `/var/tmp/caseflow-${uid}`;
}

/**
 * Makes the folder if need be.
 *
 * Throws `unwritable` when somebody else owns it or may write to it: whoever comes first to a world-writable `/var/tmp`
 * could otherwise have us run his programs.
 */
export async function openSharedFolder(path: string, uid: number): Promise<SharedFolder> {
  // Root's is passed through by `nobody`, on the way to its own folders.
  const mode = uid === 0 ? 0o711 : 0o700;
  await openOwn(path, uid, mode);
  const real = await realpath(path);
  const folder = { path: real, data: join(real, "data"), sockets: join(real, "sockets") };
  await openOwn(folder.data, uid, mode);
  await openOwn(folder.sockets, uid, mode);
  return folder;
}

async function openOwn(path: string, uid: number, mode: number): Promise<void> {
  await asUnwritable(path, async () => {
    await mkdir(path, { mode }).catch(ignoreExisting);
    const found = await lstat(path);
    if (!found.isDirectory() || found.uid !== uid || (found.mode & 0o022) !== 0) {
      const message = `${path} must be a folder that only user ${uid} can write to: remove what is there`;
      throw new PostgresServerError("unwritable", message);
    }
    if ((found.mode & 0o777) !== mode) await chmod(path, mode); // The umask may have taken bits away.
  });
}

function ignoreExisting(error: unknown): void {
  if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
}
