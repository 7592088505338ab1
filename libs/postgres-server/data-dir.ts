/**
 * Where the data lies.
 *
 * An ordinary user's is the folder `<home>/postgres`. Root's server runs as `nobody`, who may be unable to pass the
 * folders above the home, so that root's lies in the shared folder, at `data/<random id>`, and `<home>/postgres` is a
 * symbolic link to it. Beside it `data/<random id>.json` names the home, so that data without a home can be found.
 *
 * Either way it appears under `<home>/postgres` at once and whole, by a rename or by making the link. Of two starts
 * that make it at the same time one loses, and uses the other's. One that dies while making it leaves a draft, or data
 * without a link, which a later start sweeps away.
 */
import { randomBytes } from "node:crypto";
import { chown, lstat, mkdir, mkdtemp, realpath, rename, rm, stat, symlink, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";

import type { Account } from "./account.ts";
import { dataLink, deleteData, isLinked, readMarker, writeMarker } from "./home-marker.ts";
import { asUnwritable, PostgresServerError } from "./postgres-server-error.ts";
import type { SharedFolder } from "./shared-folder.ts";

export interface DataDirOptions {
  /** A real path. */
  readonly home: string;
  readonly account: Account;
  readonly shared: SharedFolder;
  /** Fills an empty folder that belongs to the account. */
  readonly fill: (folder: string) => Promise<void>;
  readonly onProgress: (line: string) => void;
}

/** Each loser of a race finds the winner's data at the next look. */
const looksMax = 3;

/** The data folder's real path; made and filled if there is none. Throws `unwritable` when it is somebody else's. */
export async function openDataDir(options: DataDirOptions): Promise<string> {
  for (let look = 0; look < looksMax; look++) {
    const found = await asUnwritable(options.home, () => findData(options));
    if (found !== undefined) return found;
    await asUnwritable(options.home, () =>
      options.account.switched ? makeBehindLink(options) : makeInHome(options),
    );
  }
  throw new PostgresServerError("start_failed", `${dataLink(options.home)} keeps being replaced by somebody`);
}

async function findData(options: DataDirOptions): Promise<string | undefined> {
  const link = dataLink(options.home);
  if ((await lstat(link).catch(ifAbsent)) === undefined) return undefined;
  const path = await realpath(link).catch(ifAbsent);
  if (path === undefined) {
    options.onProgress(`the data that ${link} points to is gone, starting with none`);
    await unlink(link);
    return undefined;
  }
  const found = await stat(path);
  if (!found.isDirectory() || found.uid !== options.account.uid) {
    const message = `${link} was made by another user (${found.uid}): start as that one, or with another folder`;
    throw new PostgresServerError("unwritable", message);
  }
  return dirname(path) === options.shared.data ? claim(options, path) : path;
}

/** Says in the marker that the data is this home's, which may have been moved. A copy of a home gets data of its own. */
async function claim({ home, onProgress }: DataDirOptions, path: string): Promise<string | undefined> {
  const other = await readMarker(path);
  if (other !== undefined && other !== home && (await isLinked(other, path))) {
    onProgress(`the data belongs to ${other}, of which this is a copy: starting with none`);
    await unlink(dataLink(home));
    return undefined;
  }
  await writeMarker(path, home);
  // A sweep under way either sees the new marker and leaves the data, or has taken it away by now.
  return (await stat(path).catch(ifAbsent)) && path;
}

async function makeInHome({ home, fill }: DataDirOptions): Promise<void> {
  const draft = await mkdtemp(`${dataLink(home)}.draft-`);
  try {
    await fill(draft);
    await rename(draft, dataLink(home));
  } catch (error) {
    if (!hasCode(error, "EEXIST", "ENOTEMPTY", "ENOTDIR")) throw error;
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

async function makeBehindLink({ home, account, shared, fill }: DataDirOptions): Promise<void> {
  const path = join(shared.data, randomBytes(8).toString("hex"));
  try {
    await writeMarker(path, home);
    await mkdir(path, { mode: 0o700 });
    await chown(path, account.uid, account.gid);
    await fill(path);
    await symlink(path, dataLink(home));
  } catch (error) {
    await deleteData(path);
    if (!hasCode(error, "EEXIST")) throw error;
  }
}

function ifAbsent(error: unknown): undefined {
  if (!hasCode(error, "ENOENT")) throw error;
}

function hasCode(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}
