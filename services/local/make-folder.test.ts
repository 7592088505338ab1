import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, test } from "vitest";

import { makeFolder } from "./make-folder.ts";

test("what is missing is made, closed to others, and what is there stays as it is", async () => {
  await using place = await openPlace();
  const path = join(place.path, "a/b");
  await makeFolder(path);
  await makeFolder(path);
  expect((await stat(path)).mode & 0o777).toBe(0o700);
  expect((await stat(join(place.path, "a"))).mode & 0o777).toBe(0o700);
});

test.each([
  ["below a file", "file/a/b", "ENOTDIR"],
  ["in the place of a file", "file", "EEXIST"],
])("a folder %s is refused", async (_where, name, code) => {
  await using place = await openPlace();
  await writeFile(join(place.path, "file"), "");
  await expect(makeFolder(join(place.path, name))).rejects.toHaveProperty("code", code);
});

test("a folder below /proc is refused, and not tried for ever", async () => {
  await expect(makeFolder("/proc/caseflow/home")).rejects.toHaveProperty("code", "ENOENT");
});

async function openPlace() {
  const path = await mkdtemp(join(tmpdir(), "folder-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}
