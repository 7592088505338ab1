import { constants } from "node:fs";
import { access, chmod, chown, mkdtemp, readdir, rm, statfs } from "node:fs/promises";
import { freemem } from "node:os";
import { join } from "node:path";
import { chooseAccount } from "#libs/postgres-server/account.ts";

export interface MemoryFolder extends AsyncDisposable {
  readonly path: string;
}

/** Linux keeps the files in it in memory. */
const parent = "/dev/shm";
const prefix = "caseflow-test-";
/** Several times what the databases of a run take at once; containers give 64 MiB unless told otherwise. */
const roomMin = 4 * 1024 ** 3;

/** A folder in memory, which PostgreSQL's account owns; none where there is no room for it. Takes away what killed runs left. */
export async function openMemoryFolder(): Promise<MemoryFolder | undefined> {
  try {
    await access(parent, constants.W_OK);
  } catch {
    return undefined;
  }
  await sweep();
  const { bavail, bsize } = await statfs(parent);
  if (Math.min(bavail * bsize, freemem()) < roomMin) return undefined;
  const path = await mkdtemp(join(parent, `${prefix}${process.pid}-`));
  const { uid, gid } = await chooseAccount();
  await chown(path, uid, gid);
  await chmod(path, 0o700);
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

async function sweep(): Promise<void> {
  for (const name of await readdir(parent)) {
    const pid = name.startsWith(prefix) ? Number.parseInt(name.slice(prefix.length), 10) : 0;
    if (pid > 0 && !isAlive(pid)) await rm(join(parent, name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
