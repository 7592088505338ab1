import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, test } from "vitest";

import { FolderLocked, lockFolder } from "./lock-folder.ts";

test("a folder is held by one at a time, whatever name it is called by, and the loser learns the holder", async () => {
  await using folder = await openFolder();
  await symlink(folder.path, join(folder.path, "alias"));
  const lock = await lockFolder(folder.path);

  const refusal = await lockFolder(join(folder.path, "alias")).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(FolderLocked);
  expect(refusal).toHaveProperty("pid", process.pid);

  await lock[Symbol.asyncDispose]();
  await (await lockFolder(folder.path))[Symbol.asyncDispose]();
});

test("two folders are held at the same time", async () => {
  await using one = await openFolder();
  await using two = await openFolder();
  await using _first = await lockFolder(one.path);
  await using _second = await lockFolder(two.path);
});

test("a killed holder leaves the folder free", async () => {
  await using folder = await openFolder();
  const source = `import { lockFolder } from ${JSON.stringify(import.meta.resolve("./lock-folder.ts"))};
    await lockFolder(process.argv[1]); console.log("held"); setInterval(() => {}, 1000);`;
  const holder = spawn(process.execPath, ["--input-type=module", "-e", source, folder.path]);
  await once(holder.stdout, "data");
  await expect(lockFolder(folder.path)).rejects.toHaveProperty("pid", holder.pid);

  holder.kill("SIGKILL");
  await once(holder, "exit");
  await using _lock = await lockFolder(folder.path);
});

async function openFolder() {
  const path = await mkdtemp(join(tmpdir(), "lock-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}
