import { open, rename, stat } from "node:fs/promises";

import { asUnwritable } from "./postgres-server-error.ts";

/** The server's log, open for appending. */
export interface LogFile extends AsyncDisposable {
  readonly path: string;
  readonly fd: number;
  /** The last lines written since the file was opened; empty when there are none. */
  tail(): Promise<string>;
}

/** Above this the file is put aside as `….previous` at a start, and the one before is dropped. */
const bytesMax = 8 * 1024 * 1024;
const tailBytesMax = 4_096;
const tailLinesMax = 12;

/** Throws `unwritable`, naming `folder`, when it cannot. */
export async function openLog(folder: string, path: string): Promise<LogFile> {
  return asUnwritable(folder, async () => {
    const size = await stat(path).then(
      (found) => found.size,
      () => 0,
    );
    if (size > bytesMax) await rename(path, `${path}.previous`);
    const file = await open(path, "a+", 0o600);
    const begin = (await file.stat()).size;
    return {
      path,
      fd: file.fd,
      async tail() {
        const from = Math.max(begin, (await file.stat()).size - tailBytesMax);
        const { buffer, bytesRead } = await file.read(Buffer.alloc(tailBytesMax), 0, tailBytesMax, from);
        const text = buffer.toString("utf8", 0, bytesRead).trimEnd();
        return text.split("\n").slice(-tailLinesMax).join("\n");
      },
      [Symbol.asyncDispose]: () => file.close(),
    };
  });
}
