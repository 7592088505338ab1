import { chmod, mkdir, mkdtemp, readdir, rm, stat, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, test } from "vitest";

import { provideBinaries } from "./binaries.ts";
import { openSharedFolder } from "./shared-folder.ts";

const uid = process.geteuid?.() ?? 0;

async function makeParent(): Promise<AsyncDisposable & { readonly path: string }> {
  const parent = await mkdtemp(join(tmpdir(), "caseflow-shared-"));
  return { path: join(parent, "shared"), [Symbol.asyncDispose]: () => rm(parent, { recursive: true }) };
}

for (const [what, mode] of [
  ["its group", 0o770],
  ["everybody", 0o702],
] as const) {
  test(`a shared folder that ${what} may write to is refused`, async () => {
    await using place = await makeParent();
    await mkdir(place.path);
    await chmod(place.path, mode);
    await expect(openSharedFolder(place.path, uid)).rejects.toMatchObject({ kind: "unwritable" });
  });
}

test("a shared folder of another user is refused", async () => {
  await using place = await makeParent();
  await mkdir(place.path);
  await expect(openSharedFolder(place.path, uid + 1)).rejects.toMatchObject({ kind: "unwritable" });
});

test("a symbolic link in the shared folder's place is refused", async () => {
  await using place = await makeParent();
  await mkdir(`${place.path}-real`, { mode: 0o700 });
  await symlink(`${place.path}-real`, place.path);
  await expect(openSharedFolder(place.path, uid)).rejects.toMatchObject({ kind: "unwritable" });
});

test("root's shared folder can be passed through and an ordinary user's cannot, whatever the umask", async () => {
  await using place = await makeParent();
  const before = process.umask(0o077);
  try {
    const { path, data, sockets } = await openSharedFolder(place.path, uid);
    const modes = await Promise.all(
      [path, data, sockets].map(async (folder) => (await stat(folder)).mode & 0o777),
    );
    expect(new Set(modes)).toEqual(new Set([uid === 0 ? 0o711 : 0o700]));
  } finally {
    process.umask(before);
  }
});

test("of several copies of PostgreSQL at once one stays, whole and readable for all, and no draft", async () => {
  await using place = await makeParent();
  const before = process.umask(0o077);
  try {
    const shared = await openSharedFolder(place.path, uid);
    const lines: string[] = [];
    const bins = await Promise.all([1, 2, 3].map(() => provideBinaries(shared, (line) => lines.push(line))));
    expect(new Set(bins).size).toBe(1);
    expect(lines).not.toEqual([]);
    expect(await readdir(shared.path)).toHaveLength(3);
    const [bin = ""] = bins;
    const modeOf = async (name: string) => (await stat(join(bin, name))).mode & 0o055;
    expect(await modeOf("postgres")).toBe(0o055);
    expect(await modeOf("../lib/libpq.so.5")).toBe(0o055); // Through a restored link.
    expect(await modeOf("../share/postgresql")).toBe(0o055);
    expect(await modeOf("../share/postgresql/postgresql.conf.sample")).toBe(0o044);
  } finally {
    process.umask(before);
  }
});
