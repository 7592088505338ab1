import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";

/**
 * Makes a folder and those above it that are missing, closed to others; one that is there stays as it is.
 *
 * Node's own `recursive` never comes back from a place such as `/proc`, which is there and takes no folders.
 */
export async function makeFolder(path: string): Promise<void> {
  const above = dirname(path);
  if (!(await exists(above))) await makeFolder(above);
  await mkdir(path, { mode: 0o700 }).catch(async (error: unknown) => {
    if (!(await stat(path).catch(() => undefined))?.isDirectory()) throw error;
  });
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
