import { createHash } from "node:crypto";
import { realpath } from "node:fs/promises";
import { createConnection, createServer, type Server } from "node:net";
import { once } from "node:events";
import { text } from "node:stream/consumers";

/** Somebody else holds the folder. */
export class FolderLocked extends Error {
  override readonly name = "FolderLocked";
  /** Of the holder; `undefined` when it did not say. */
  readonly pid: number | undefined;

  constructor(folder: string, pid: number | undefined) {
    super(`${folder} is in use${pid === undefined ? "" : ` by process ${pid}`}`);
    this.pid = pid;
  }
}

const answerTimeoutMs = 1_000;

/**
 * Holds `folder` for this process until it is disposed or dies, however it dies: the lock is a name in Linux's abstract
 * socket space, which leaves no file behind. Whoever connects is told the holder's process id.
 *
 * Throws `FolderLocked` when it is held already. Processes in other network namespaces (containers) are not seen.
 */
export async function lockFolder(folder: string): Promise<AsyncDisposable> {
  const name = `\0folder-lock-${createHash("sha256")
    .update(await realpath(folder))
    .digest("hex")}`;
  const server = createServer((peer) => {
    peer.on("error", () => peer.destroy());
    peer.end(String(process.pid));
  });
  server.unref(); // It keeps nobody from ending.
  server.listen(name);
  try {
    await once(server, "listening");
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EADDRINUSE")) throw error;
    throw new FolderLocked(folder, await askHolder(name));
  }
  return { [Symbol.asyncDispose]: () => close(server) };
}

async function askHolder(name: string): Promise<number | undefined> {
  const peer = createConnection(name);
  peer.setTimeout(answerTimeoutMs, () => peer.destroy(new Error("no answer")));
  try {
    return Number.parseInt(await text(peer), 10) || undefined;
  } catch {
    return undefined; // It has gone, or is too busy to say: its name is not needed for the refusal.
  }
}

function close(server: Server): Promise<void> {
  return new Promise((closed) => server.close(() => closed()));
}
