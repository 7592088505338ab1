import { randomUUID } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { entriesPath, tilePath, tileWidth } from "#libs/merkle/tile.ts";

/** Writes and removes files of a mirror. Whatever dies, and whenever: a file that has its name is whole. */
export interface MirrorFolder {
  /** Puts a file in place; `settle` makes its name last. One that is there with the same bytes stays as it is. */
  write(path: string, bytes: Uint8Array): Promise<void>;
  /** Once it resolves, all that was written so far is there also after the machine has lost its power. */
  settle(): Promise<void>;
  /** Removes the full tiles and bundles from the right edge of a log of this size on: no checkpoint is over them. */
  dropBeyond(size: number): Promise<void>;
  /** Removes the partial files of tiles that are full in a log of this size. */
  dropOutgrown(size: number): Promise<void>;
}

/** Where files are made; what is left in it is of a run that was killed. */
const draftsName = ".drafts";
const fileMode = 0o644; // For a web server, too.
const levelsMax = 6; // A tree of 2^53 - 1 leaves has no more.

export async function openMirrorFolder(folder: string): Promise<MirrorFolder> {
  const drafts = join(folder, draftsName);
  await rm(drafts, { recursive: true, force: true });
  await mkdir(drafts, { recursive: true });
  /** Folders whose names may not be on disk yet. */
  const unsettled = new Set<string>();

  async function isThere(path: string, bytes: Uint8Array): Promise<boolean> {
    const present = await readFile(join(folder, path)).catch(absent);
    return present !== undefined && Buffer.compare(present, bytes) === 0;
  }

  return {
    async write(path, bytes) {
      for (let above = dirname(path); above !== "."; above = dirname(above)) unsettled.add(above);
      if (await isThere(path, bytes)) return;
      await mkdir(join(folder, dirname(path)), { recursive: true });
      const draft = join(drafts, randomUUID());
      await writeFile(draft, bytes, { mode: fileMode, flush: true });
      await rename(draft, join(folder, path));
    },
    async settle() {
      for (const path of [...unsettled, "."]) {
        await using opened = await open(join(folder, path));
        await opened.sync();
      }
      unsettled.clear();
    },
    async dropBeyond(size) {
      for (let level = 0; level <= levelsMax; level += 1) {
        for (let index = fullTiles(size, level); ; index += 1) {
          const paths = [tilePath({ level, index, width: tileWidth })];
          if (level === 0) paths.push(entriesPath(index, tileWidth));
          const removed = await Promise.all(paths.map((path) => remove(join(folder, path))));
          if (!removed.includes(true)) break;
        }
      }
    },
    async dropOutgrown(size) {
      const names = await readdir(join(folder, "tile"), { recursive: true }).catch(absent);
      for (const name of names ?? []) {
        const [, levelName = "", indexPath = ""] = /^(\d|entries)\/((?:x\d{3}\/)*\d{3})\.p$/.exec(name) ?? [];
        if (indexPath === "") continue;
        const index = Number(indexPath.replaceAll(/[x/]/g, ""));
        if (index >= fullTiles(size, levelName === "entries" ? 0 : Number(levelName))) continue;
        await rm(join(folder, "tile", name), { recursive: true, force: true });
      }
    },
  };
}

function fullTiles(size: number, level: number): number {
  return Math.floor(size / tileWidth ** (level + 1));
}

/** Returns whether there was anything. */
async function remove(path: string): Promise<boolean> {
  return rm(path).then(
    () => true,
    (error: unknown) => absent(error) ?? false,
  );
}

function absent(error: unknown): undefined {
  if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR"))
    return;
  throw error;
}
