import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { replaceFile } from "#libs/files/replace-file.ts";
import { openMirrorFolder } from "#services/cli/log/mirror-folder.ts";
import { updateMirror } from "#services/cli/log/update-mirror.ts";
import { judgeMirror } from "#services/cli/verify/judge-mirror.ts";
import { readFolder } from "#services/cli/verify/mirror-files.ts";
import { type Folder, openFolder } from "./support/caseflow-command.ts";
import { makeCase } from "./support/made-history.ts";
import { makeSigner, toMirror, writeMirror } from "./support/made-log.ts";
import { serveLog } from "./support/made-service-log.ts";
import { flip, keysOf } from "./support/judged.ts";

/* A mirror's folder is at every moment the whole log that its checkpoint says. */

const signer = makeSigner();
const keys = keysOf(signer);
const entries = Array.from({ length: 800 }, () => makeCase().act("created", "ann"));

interface Mirrored {
  readonly folder: string;
  /** Brings it to this size, of `log`. */
  grow(
    size: number,
    log?: readonly Uint8Array[],
  ): Promise<{ addedCount: number; askedFrom: readonly number[] }>;
  /** Files by their paths. */
  files(): Promise<Map<string, Uint8Array>>;
}

function mirrorIn(scratch: Folder): Mirrored {
  const folder = scratch.path("mirror");
  return {
    folder,
    async grow(size, log = entries) {
      const service = serveLog(log.slice(0, size), signer);
      const { addedCount } = await updateMirror({ folder, keys, service });
      return { addedCount, askedFrom: service.asked };
    },
    async files() {
      const found = new Map<string, Uint8Array>();
      for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile()) continue;
        const path = join(entry.parentPath, entry.name);
        found.set(path.slice(folder.length + 1), await readFile(path));
      }
      return found;
    },
  };
}

test("a mirror grows file by file to what the log's own would be", async () => {
  await using scratch = await openFolder();
  const mirror = mirrorIn(scratch);
  const sizes = [1, 2, 200, 256, 257, 300, 512, 513, 800];
  let before = 0;
  for (const size of sizes) {
    expect(await mirror.grow(size)).toEqual({ addedCount: size - before, askedFrom: [before] });
    const files = await mirror.files();
    for (const [path, bytes] of await toMirror(entries.slice(0, size), signer)) {
      expect(Buffer.compare(files.get(path) ?? Buffer.of(), bytes), `${path} at ${size}`).toBe(0);
    }
    await expect(judgeMirror(readFolder(mirror.folder), { keys })).resolves.toMatchObject({
      eventCount: size,
    });
    before = size;
  }
  expect(await mirror.grow(800)).toEqual({ addedCount: 0, askedFrom: [800] });
});

test("partial files are kept until their full one is there, and then they go", async () => {
  await using scratch = await openFolder();
  const mirror = mirrorIn(scratch);
  const partials = async () =>
    [...(await mirror.files()).keys()].filter((path) => path.includes(".p/")).toSorted();
  await mirror.grow(10);
  await mirror.grow(20);
  expect(await partials()).toEqual([
    ...["tile/0/000.p/10", "tile/0/000.p/20", "tile/entries/000.p/10", "tile/entries/000.p/20"],
  ]);
  await mirror.grow(258);
  expect(await partials()).toEqual(["tile/0/001.p/2", "tile/1/000.p/1", "tile/entries/001.p/2"]);
});

test("a tree of several levels has the tiles that the log's own would have", async () => {
  await using scratch = await openFolder();
  const log = Array.from({ length: 66_000 }, (_, at) => Buffer.from(`entry ${at}`));
  const folder = scratch.path("mirror");
  for (const size of [65_500, 66_000]) {
    await updateMirror({ folder, keys, service: serveLog(log.slice(0, size), signer) });
  }
  const expected = await toMirror(log, signer);
  expect([...expected.keys()].filter((path) => path.startsWith("tile/2/"))).toEqual(["tile/2/000.p/1"]);
  for (const [path, bytes] of expected) {
    expect(Buffer.compare(await readFile(join(folder, path)), bytes), path).toBe(0);
  }
}, 60_000);

test("full tiles are written once", async () => {
  await using scratch = await openFolder();
  const mirror = mirrorIn(scratch);
  await mirror.grow(600);
  const full = ["tile/0/000", "tile/0/001", "tile/entries/000", "tile/entries/001"];
  const inodes = async () =>
    Promise.all(full.map(async (path) => (await stat(join(mirror.folder, path))).ino));
  const before = await inodes();
  await mirror.grow(800);
  expect(await inodes()).toEqual(before);
});

class Killed extends Error {}

/** Runs an update that dies at its n-th step on files, before, within or after it; returns whether it came to that step. */
async function killAt(
  step: number,
  how: "before" | "within" | "after",
  folder: string,
  size: number,
): Promise<boolean> {
  let steps = 0;
  const strike = async <T>(act: () => Promise<T>, half: () => Promise<unknown>): Promise<T> => {
    steps += 1;
    if (steps !== step) return act();
    if (how === "within") await half();
    if (how === "after") await act();
    throw new Killed();
  };
  const draft = () => writeFile(join(folder, ".drafts", "half"), "half a til");
  try {
    await updateMirror({
      folder,
      keys,
      service: serveLog(entries.slice(0, size), signer),
      async openFolder(path) {
        const files = await openMirrorFolder(path);
        return {
          write: (name, bytes) => strike(() => files.write(name, bytes), draft),
          settle: () => strike(() => files.settle(), draft),
          dropBeyond: (from) => strike(() => files.dropBeyond(from), draft),
          dropOutgrown: (from) => strike(() => files.dropOutgrown(from), draft),
        };
      },
      replaceCheckpoint: (path, text, mode) =>
        strike(
          () => replaceFile(path, text, mode),
          () => writeFile(`${path}.tmp`, text.slice(0, 40)),
        ),
    });
    return false;
  } catch (error) {
    if (!(error instanceof Killed)) throw error;
    return true;
  }
}

test("a mirror that is killed at any step is a valid log, and the next run goes on from there", async () => {
  const wholes = new Map<number, Map<string, Uint8Array>>();
  for (const size of [270, 800]) wholes.set(size, await toMirror(entries.slice(0, size), signer));
  let kills = 0;
  for (const how of ["before", "within", "after"] as const) {
    for (let step = 1, more = true; more; step += 1) {
      await using scratch = await openFolder();
      const mirror = mirrorIn(scratch);
      await mirror.grow(270);
      more = await killAt(step, how, mirror.folder, 800);
      const files = await mirror.files();
      const note = files.get("checkpoint")!.toString();
      const size = Number(note.split("\n")[1]);
      for (const [path, bytes] of wholes.get(size)!) {
        expect(Buffer.compare(files.get(path) ?? Buffer.of(), bytes), `${path}: step ${step}, ${how}`).toBe(
          0,
        );
      }
      const { askedFrom } = await mirror.grow(800);
      expect(askedFrom[0]).toBeGreaterThanOrEqual(size);
      const after = await mirror.files();
      for (const [path, bytes] of wholes.get(800)!) {
        expect(Buffer.compare(after.get(path) ?? Buffer.of(), bytes), `${path}: step ${step}, ${how}`).toBe(
          0,
        );
      }
      expect([...after.keys()].filter((path) => path.startsWith(".drafts/"))).toEqual([]);
      if (more) kills += 1;
    }
  }
  expect(kills).toBeGreaterThanOrEqual(30);
}, 60_000);

test("a run that was killed at its first tiles leaves entries that the next one does not ask for again", async () => {
  await using scratch = await openFolder();
  const mirror = mirrorIn(scratch);
  expect(await killAt(6, "after", mirror.folder, 800)).toBe(true); // Three full bundles and their tiles.
  expect(await mirror.grow(800)).toEqual({ addedCount: 800, askedFrom: [768] });
});

test("what a killed run left of another story is dropped, and the service asked", async () => {
  await using scratch = await openFolder();
  const mirror = mirrorIn(scratch);
  await mirror.grow(100);
  const other = await toMirror(entries.toReversed(), signer);
  other.delete("checkpoint");
  await writeMirror(mirror.folder, new Map([...other].filter(([path]) => !path.includes(".p/"))));
  expect(await mirror.grow(300)).toEqual({ addedCount: 200, askedFrom: [768, 100] });
  await expect(judgeMirror(readFolder(mirror.folder), { keys })).resolves.toMatchObject({ eventCount: 300 });
  expect(await mirror.grow(800)).toEqual({ addedCount: 500, askedFrom: [300] });
});

test("a service whose log is shorter, or rewritten, is refused, and the mirror stays as it was", async () => {
  await using scratch = await openFolder();
  const mirror = mirrorIn(scratch);
  await mirror.grow(300);
  const before = await mirror.files();
  const rewritten = entries.with(5, entries[700]!);
  for (const [size, log] of [
    [299, entries],
    [300, rewritten],
    [600, rewritten],
  ] as const) {
    await expect(mirror.grow(size, log)).rejects.toMatchObject({ fault: { kind: "fork" } });
    const files = await mirror.files();
    for (const [path, bytes] of before)
      expect(Buffer.compare(files.get(path) ?? Buffer.of(), bytes), path).toBe(0);
    await expect(judgeMirror(readFolder(mirror.folder), { keys })).resolves.toMatchObject({
      eventCount: 300,
    });
  }
  expect((await mirror.grow(800)).addedCount).toBe(500);
});

test("a service that tells other events than it signed is found out, and its log is not called rewritten", async () => {
  await using scratch = await openFolder();
  const folder = scratch.path("mirror");
  await updateMirror({ folder, keys, service: serveLog(entries.slice(0, 300), signer) });
  const told = entries.with(400, flip(entries[400]!, 9));
  const service = serveLog(entries, signer, told);
  await expect(updateMirror({ folder, keys, service })).rejects.toMatchObject({ fault: { kind: "root" } });
  const short = serveLog(entries, signer, entries.slice(0, 700));
  await expect(updateMirror({ folder, keys, service: short })).rejects.toMatchObject({
    fault: { kind: "gap" },
  });
  const unsigned = serveLog(entries, makeSigner());
  await expect(updateMirror({ folder, keys, service: unsigned })).rejects.toMatchObject({
    fault: { kind: "signature" },
  });
  await expect(updateMirror({ folder, keys, service: serveLog(entries, signer) })).resolves.toMatchObject({
    addedCount: 500,
  });
});

test.each<[what: string, spoil: (folder: string) => Promise<unknown>, kind: string]>([
  ["another checkpoint", (folder) => writeFile(`${folder}/checkpoint`, "no checkpoint"), "unreadable"],
  ["a changed tile", (folder) => writeFile(`${folder}/tile/0/001.p/44`, Buffer.alloc(44 * 32)), "inclusion"],
  ["a tile too few", (folder) => rm(`${folder}/tile/0/001.p/44`), "unreadable"],
  ["a changed upper tile", (folder) => writeFile(`${folder}/tile/1/000.p/1`, Buffer.alloc(32)), "root"],
])("a mirror with %s at its edge is not built on", async (_, spoil, kind) => {
  await using scratch = await openFolder();
  const mirror = mirrorIn(scratch);
  await mirror.grow(300);
  await spoil(mirror.folder);
  const service = serveLog(entries, signer);
  const update = updateMirror({ folder: mirror.folder, keys, service });
  await expect(update).rejects.toMatchObject({ fault: { kind } });
  expect(service.asked).toEqual([]);
});

test("two writers at a time do not meet in a folder", async () => {
  await using scratch = await openFolder();
  const folder = scratch.path("mirror");
  await mkdir(folder);
  const service = serveLog(entries, signer);
  const both = await Promise.allSettled([
    updateMirror({ folder, keys, service }),
    updateMirror({ folder, keys, service }),
  ]);
  expect(both.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
  await expect(judgeMirror(readFolder(folder), { keys })).resolves.toMatchObject({ eventCount: 800 });
});
