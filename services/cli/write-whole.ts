import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import type { Writable } from "node:stream";

/** The file is there whole or not at all, and for its owner alone. */
export async function writeWhole<T>(path: string, fill: (file: Writable) => Promise<T>): Promise<T> {
  const draft = `${path}.${process.pid}.tmp`;
  const file = createWriteStream(draft, { mode: 0o600 });
  try {
    await once(file, "open");
    file.on("error", () => {}); // Also of writes that are under way when it is given up; what counts is asked for below.
    const filled = await fill(file);
    if (file.errored) throw file.errored;
    file.end();
    await once(file, "close");
    await rename(draft, path);
    return filled;
  } catch (error) {
    file.destroy();
    await rm(draft, { force: true });
    throw error;
  }
}
