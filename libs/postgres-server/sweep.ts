import { readdir, rename, rm, rmdir, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { dataLink, deleteData, isLinked, markerPath, readMarker } from "./home-marker.ts";
import { processesIn } from "./processes-in.ts";
import type { SharedFolder } from "./shared-folder.ts";

/** Longer than a start can take from its first file to its link. */
const startMaxMs = 10 * 60_000;
/** How long data is kept when its home has vanished: it may have been moved, and its new place is not known yet. */
const missingHomeMs = 7 * 24 * 60 * 60_000;
const socketDirMs = 24 * 60 * 60_000;

/**
 * Deletes what killed starts and deleted homes have left behind, old enough that no start under way can own it, and
 * never a data folder that a process works in. A temporary home that is gone is gone for good; any other's data is
 * kept for a week after its last start.
 *
 * Never throws: what it cannot delete stays.
 */
export async function sweep(home: string, shared: SharedFolder): Promise<void> {
  await sweepDrafts(home, `${dataLink(home)}.draft-`);
  await sweepDrafts(shared.path, join(shared.path, "postgres-"), ".draft-");
  for (const name of await list(shared.sockets)) await sweepSocketDir(join(shared.sockets, name));
  for (const name of await list(shared.data)) {
    const path = join(shared.data, name);
    if (name.endsWith(".json")) await sweepData(path.slice(0, -".json".length)).catch(() => {});
    if (name.endsWith(".dead") && (await ageMs(path)) > startMaxMs) await remove(path);
  }
}

async function sweepDrafts(folder: string, prefix: string, infix = ""): Promise<void> {
  for (const path of (await list(folder)).map((name) => join(folder, name))) {
    if (!path.startsWith(prefix) || !path.includes(infix)) continue;
    if ((await ageMs(path)) > startMaxMs) await remove(path);
  }
}

/** A start sets the folder's time anew before it uses it. With a socket in it the folder stays. */
async function sweepSocketDir(path: string): Promise<void> {
  if ((await ageMs(path)) > socketDirMs) await rmdir(path).catch(() => {});
}

async function sweepData(path: string): Promise<void> {
  const home = await readMarker(path);
  const marker = await stat(markerPath(path));
  const keptMs = home === undefined || isTemporary(home) ? startMaxMs : missingHomeMs;
  if (Date.now() - marker.mtimeMs < keptMs) return;
  if (home !== undefined && (await isLinked(home, path))) return;
  if ((await processesIn(path)).length > 0) return;
  // A moved home may be starting just now: it writes the marker and then looks whether the data is there.
  const dead = `${path}.dead`;
  await rename(path, dead).catch(() => {}); // Absent: deleting it was interrupted.
  const now = await stat(markerPath(path));
  if (now.mtimeMs !== marker.mtimeMs || (await processesIn(dead)).length > 0) return rename(dead, path);
  await remove(dead);
  await deleteData(path);
}

function isTemporary(home: string): boolean {
  return [tmpdir(), "/tmp", "/var/tmp"].some((folder) => home.startsWith(`${folder}/`));
}

function list(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}

/** 0 when it is gone, so that it is left alone. */
function ageMs(path: string): Promise<number> {
  return stat(path).then(
    (found) => Date.now() - found.mtimeMs,
    () => 0,
  );
}

function remove(path: string): Promise<void> {
  return rm(path, { recursive: true, force: true }).catch(() => {});
}
