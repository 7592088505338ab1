import { readFile, readlink, rm } from "node:fs/promises";
import { join } from "node:path";

import { replaceFile } from "#libs/files/replace-file.ts";

/** Where a home keeps its data: the folder itself, or a symbolic link to it. */
export function dataLink(home: string): string {
  return join(home, "postgres");
}

/** The file beside a data folder of the shared folder that names its home; its time is that of the last start. */
export function markerPath(dataDir: string): string {
  return `${dataDir}.json`;
}

export async function writeMarker(dataDir: string, home: string): Promise<void> {
  await replaceFile(markerPath(dataDir), `${JSON.stringify({ home })}\n`, 0o600);
}

/** `undefined` when there is none, or none that can be read. */
export async function readMarker(dataDir: string): Promise<string | undefined> {
  try {
    const marker: unknown = JSON.parse(await readFile(markerPath(dataDir), "utf8"));
    if (typeof marker !== "object" || marker === null || !("home" in marker)) return undefined;
    return typeof marker.home === "string" ? marker.home : undefined;
  } catch {
    return undefined;
  }
}

/** Whether `home` still has its link to this data folder. Any doubt but its plain absence counts as yes. */
export async function isLinked(home: string, dataDir: string): Promise<boolean> {
  try {
    return (await readlink(dataLink(home))) === dataDir;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    return !["ENOENT", "ENOTDIR", "EINVAL"].includes(String(code)); // EINVAL: it is there and not a link.
  }
}

/** Deletes a data folder and then its marker: what is interrupted can be taken up again. */
export async function deleteData(dataDir: string): Promise<void> {
  await rm(dataDir, { recursive: true, force: true });
  await rm(markerPath(dataDir), { force: true });
}
