import { randomUUID } from "node:crypto";
import { open, rename, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * Writes `text` to `path` such that a reader, at any moment, finds the old file or the new one whole, and once it has
 * resolved, the new one, also after the machine has lost its power. `mode` holds from the first byte on; the umask can only take bits
 * away.
 */
export async function replaceFile(path: string, text: string, mode: number): Promise<void> {
  const draft = `${path}.${randomUUID()}.tmp`;
  try {
    await writeFile(draft, text, { mode, flag: "wx", flush: true });
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
  await using folder = await open(dirname(path));
  await folder.sync(); // Until then the new name is in memory alone.
}
