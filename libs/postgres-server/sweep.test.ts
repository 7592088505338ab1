import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, symlink, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { spawn } from "node:child_process";
import { once } from "node:events";

import { expect, test } from "vitest";

import { dataLink, markerPath, writeMarker } from "./home-marker.ts";
import { openSharedFolder, type SharedFolder } from "./shared-folder.ts";
import { sweep } from "./sweep.ts";

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;
const uid = process.geteuid?.() ?? 0;

interface Place extends AsyncDisposable {
  readonly shared: SharedFolder;
  /** A home that exists. */
  readonly home: string;
  /** Data last started `ageMs` ago, whose marker names `home`. */
  makeData(home: string, ageMs: number): Promise<string>;
  sweep(): Promise<void>;
}

async function makePlace(): Promise<Place> {
  const folder = await mkdtemp(join(tmpdir(), "caseflow-sweep-"));
  const shared = await openSharedFolder(join(folder, "shared"), uid);
  const home = join(folder, "home");
  await mkdir(home);
  let count = 0;
  return {
    shared,
    home,
    async makeData(of, ageMs) {
      const path = join(shared.data, `d${count++}`);
      await mkdir(join(path, "base"), { recursive: true });
      await writeMarker(path, of);
      await age(markerPath(path), ageMs);
      return path;
    },
    sweep: () => sweep(home, shared),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true }),
  };
}

async function age(path: string, ageMs: number): Promise<void> {
  const at = new Date(Date.now() - ageMs);
  await utimes(path, at, at);
}

test("the data of a temporary home that is gone is deleted, with its marker", async () => {
  await using place = await makePlace();
  const data = await place.makeData(join(place.home, "gone"), 11 * minuteMs);
  await place.sweep();
  expect([data, markerPath(data)].filter((path) => existsSync(path))).toEqual([]);
});

test("the data of a home whose link points elsewhere is deleted", async () => {
  await using place = await makePlace();
  const data = await place.makeData(place.home, 11 * minuteMs);
  const newer = await place.makeData(place.home, 11 * minuteMs);
  await symlink(newer, dataLink(place.home));
  await place.sweep();
  expect([existsSync(data), existsSync(newer)]).toEqual([false, true]);
});

test("data without a link is kept while the start that makes it may be under way", async () => {
  await using place = await makePlace();
  const data = await place.makeData(place.home, 9 * minuteMs);
  await place.sweep();
  expect(existsSync(data)).toBe(true);
});

test("linked data is kept however old it is", async () => {
  await using place = await makePlace();
  const data = await place.makeData(place.home, 1_000 * dayMs);
  await symlink(data, dataLink(place.home));
  await place.sweep();
  expect([data, markerPath(data)].every((path) => existsSync(path))).toBe(true);
});

test("data of a home outside the temporary folders, which may have been moved, is kept for a week", async () => {
  await using place = await makePlace();
  const fresh = await place.makeData("/home/somebody/project/.caseflow", 6 * dayMs);
  const old = await place.makeData("/home/somebody/project/.caseflow", 8 * dayMs);
  await place.sweep();
  expect([existsSync(fresh), existsSync(old)]).toEqual([true, false]);
});

test("data that a process works in is kept, whatever its marker says", async () => {
  await using place = await makePlace();
  const data = await place.makeData(join(place.home, "gone"), 11 * minuteMs);
  const worker = spawn("sleep", ["60"], { cwd: data, stdio: "ignore" });
  await once(worker, "spawn");
  try {
    await place.sweep();
    expect([data, markerPath(data)].every((path) => existsSync(path))).toBe(true);
  } finally {
    worker.kill();
  }
});

test("a deletion that was interrupted half way is finished", async () => {
  await using place = await makePlace();
  const data = await place.makeData(join(place.home, "gone"), 11 * minuteMs);
  await rm(data, { recursive: true });
  await mkdir(`${data}.dead`);
  await place.sweep();
  expect([`${data}.dead`, markerPath(data)].filter((path) => existsSync(path))).toEqual([]);
});

test("drafts and socket folders are deleted once no start can own them", async () => {
  await using place = await makePlace();
  const old = [
    `${dataLink(place.home)}.draft-a`,
    join(place.shared.path, "postgres-18.draft-a"),
    join(place.shared.sockets, "a"),
  ];
  const young = [
    `${dataLink(place.home)}.draft-b`,
    join(place.shared.path, "postgres-18.draft-b"),
    join(place.shared.sockets, "b"),
  ];
  const used = join(place.shared.sockets, "c");
  const others = [join(place.shared.path, "postgres-18"), join(place.home, "postgres")];
  for (const path of [...old, ...young, ...others, used]) await mkdir(path);
  await mkdir(join(used, "socket"));
  for (const path of [...old, ...others, used]) await age(path, 2 * dayMs);
  await place.sweep();
  const left = [...old, ...young, ...others, used].filter((path) => existsSync(path));
  expect(left).toEqual([...young, ...others, used]);
});
