import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, cp, mkdir, mkdtemp, readFile, realpath, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { startPostgresChild } from "#test/support/postgres-child.ts";
import { makeTemporaryHome, type TemporaryHome } from "#test/support/temporary-home.ts";

import { provideBinaries } from "./binaries.ts";
import { forgetPostgres } from "./forget-postgres.ts";
import { markerPath } from "./home-marker.ts";
import { processesIn } from "./processes-in.ts";
import { openSharedFolder, sharedFolderPath } from "./shared-folder.ts";
import { type PostgresServer, startPostgres } from "./start-postgres.ts";

const uid = process.geteuid?.() ?? 0;
const isRoot = uid === 0;
const nobody = { uid: 65_534, gid: 65_534 };
const users = [
  { who: isRoot ? "root" : "an ordinary user", owner: undefined },
  ...(isRoot ? [{ who: "an ordinary user", owner: nobody }] : []),
];
const postgres15 = "/usr/lib/postgresql/15/bin";
const psql = ["/usr/bin/psql", "/usr/local/bin/psql"].find((path) => existsSync(path));

async function query(url: string, sql: string): Promise<unknown[][]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<unknown[]>({ text: sql, rowMode: "array" });
    return rows;
  } finally {
    await client.end();
  }
}

async function readableBin(): Promise<string> {
  return provideBinaries(await openSharedFolder(sharedFolderPath(uid), uid), () => {});
}

/** Waits for the last process that works in the home's data folder. */
async function expectNoServer(home: string): Promise<void> {
  const dataDir = await realpath(join(home, "postgres"));
  await expect.poll(() => processesIn(dataDir), { timeout: 10_000, interval: 20 }).toEqual([]);
}

/** Has data after the first test; no server runs there between tests. A new one takes `initdb`'s time. */
let filled: TemporaryHome;
beforeAll(async () => {
  filled = await makeTemporaryHome();
});
afterAll(() => filled[Symbol.asyncDispose]());

test("data is there again after a stop and a start, below a folder with mode 0700", async () => {
  {
    await using server = await startPostgres({ home: filled.path });
    await query(server.url("postgres", "postgres"), "CREATE TABLE t AS SELECT 7 AS n");
  }
  await expectNoServer(filled.path);
  await using server = await startPostgres({ home: filled.path });
  expect(await query(server.url("postgres", "postgres"), "SELECT n FROM t")).toEqual([[7]]);
});

describe("a server that runs", () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await startPostgres({ home: filled.path });
  });
  afterAll(() => server[Symbol.asyncDispose]());

  test("has UTF-8, checksums, code point order, durable commits and no TCP port", async () => {
    const settings = [
      "server_encoding",
      "data_checksums",
      "fsync",
      "listen_addresses",
      "unix_socket_permissions",
    ];
    const sql = `SELECT ${settings.map((name) => `current_setting('${name}')`).join(", ")}, 'a' > 'B', lower('Ä')`;
    expect(await query(server.url("postgres", "postgres"), sql)).toEqual([
      ["UTF8", "on", "on", "", "0700", true, "ä"],
    ]);
  });

  test.skipIf(psql === undefined)("answers psql by the same connection string", async () => {
    const url = server.url("postgres", "postgres");
    const args = [url, "--no-psqlrc", "--tuples-only", "--no-align", "--command", "SELECT 6 * 7"];
    const { stdout } = await promisify(execFile)(psql ?? "", args);
    expect(stdout).toBe("42\n");
  });

  test("refuses a second start on its home with its process id, and is left alone", async () => {
    await expect(startPostgres({ home: filled.path })).rejects.toMatchObject({
      kind: "already_running",
      pid: server.pid,
      message: expect.stringContaining(`process ${server.pid}`) as string,
    });
    await expect(forgetPostgres({ home: filled.path })).rejects.toMatchObject({ kind: "already_running" });
    expect(await query(server.url("postgres", "postgres"), "SELECT 1")).toEqual([[1]]);
  });

  test("is in a session of its own, where a terminal's Ctrl-C does not reach it", async () => {
    const stat = await readFile(`/proc/${server.pid}/stat`, "utf8");
    const [, , group, session] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    expect([Number(group), Number(session)]).toEqual([server.pid, server.pid]);
  });
});

test("settings given by the caller win", async () => {
  const settings = { work_mem: "7MB", log_checkpoints: "on" };
  await using server = await startPostgres({
    home: filled.path,
    fsync: false,
    maxConnections: 23,
    settings,
  });
  const sql =
    "SELECT current_setting('work_mem'), current_setting('log_checkpoints'), current_setting('max_connections')";
  expect(await query(server.url("postgres", "postgres"), sql)).toEqual([["7MB", "on", "23"]]);
});

test.each(["a new home", "a home with data"])(
  "of three starts at once on %s one wins and the others are told of it",
  async (what) => {
    await using home = await makeTemporaryHome();
    const { path } = what === "a home with data" ? filled : home;
    const starts = await Promise.allSettled(
      Array.from({ length: 3 }, () => startPostgres({ home: path, fsync: false })),
    );
    await using running = new AsyncDisposableStack();
    const won = starts
      .filter((start) => start.status === "fulfilled")
      .map((start) => running.use(start.value));
    const lost = starts.filter((start) => start.status === "rejected").map((start): unknown => start.reason);
    expect(won).toHaveLength(1);
    const refused = expect.objectContaining({ kind: "already_running", pid: won[0]?.pid }) as unknown;
    expect(lost).toEqual([refused, refused]);
  },
);

test("a start does not take the answer of a server that came first for its own server's", async () => {
  const slowBin = await mkdtemp(join(tmpdir(), "caseflow-bin-"));
  await chmod(slowBin, 0o777); // `nobody` writes there, when this is root.
  const wait = `touch ${slowBin}/begun; until [ -e ${slowBin}/go ]; do sleep 0.02; done`;
  const script = `#!/bin/sh\n${wait}\nexec ${await readableBin()}/postgres "$@"\n`;
  await writeFile(join(slowBin, "postgres"), script, { mode: 0o755 });
  try {
    const slow = startPostgres({ home: filled.path, nativeDir: slowBin }).catch((error: unknown) => error);
    await expect.poll(() => existsSync(join(slowBin, "begun")), { timeout: 10_000 }).toBe(true);
    await using server = await startPostgres({ home: filled.path });
    for (let n = 0; n < 20; n++) await query(server.url("postgres", "postgres"), "SELECT 1"); // Time to be mistaken.
    await writeFile(join(slowBin, "go"), "");
    expect(await slow).toMatchObject({ kind: "already_running" });
  } finally {
    await rm(slowBin, { recursive: true });
  }
});

test("a server that is killed tells so, and can be started again at once with what was committed", async () => {
  {
    await using server = await startPostgres({ home: filled.path, fsync: false });
    await query(server.url("postgres", "postgres"), "CREATE TABLE killed AS SELECT 7 AS n");
    process.kill(server.pid, "SIGKILL");
    expect(await server.ended).toBe("SIGKILL");
  }
  await using server = await startPostgres({ home: filled.path, fsync: false });
  expect(await query(server.url("postgres", "postgres"), "SELECT n FROM killed")).toEqual([[7]]);
});

describe.each(users)("of $who", ({ owner }) => {
  let home: TemporaryHome;
  beforeAll(async () => {
    home = owner === undefined ? filled : await makeTemporaryHome(owner);
  });
  afterAll(() => (home === filled ? undefined : home[Symbol.asyncDispose]()));

  test("killing the parent ends the server, and the next start has the data", async () => {
    const order = { home: home.path, owner, readableBin: await readableBin() };
    await using first = await startPostgresChild(order);
    await query(first.superuserUrl, "CREATE TABLE orphaned AS SELECT 7 AS n");
    await first.killParent();
    await using second = await startPostgresChild(order);
    expect(await query(second.superuserUrl, "SELECT n FROM orphaned")).toEqual([[7]]);
    await second.killParent();
    await expectNoServer(home.path);
  });

  test("a lock whose process id is another program's by now does not hinder a start", async () => {
    const order = { home: home.path, owner, readableBin: await readableBin() };
    {
      await using child = await startPostgresChild(order);
      process.kill(child.pid, "SIGKILL");
      await expectNoServer(home.path);
    }
    const other = spawn("sleep", ["60"], { stdio: "ignore", ...owner });
    await once(other, "spawn");
    const lock = join(await realpath(join(home.path, "postgres")), "postmaster.pid");
    const lines = (await readFile(lock, "utf8")).split("\n");
    await writeFile(lock, [other.pid, ...lines.slice(1)].join("\n"));
    const longAgo = new Date(Date.now() - 60_000);
    await promisify(execFile)("touch", ["-d", longAgo.toISOString(), lock]);
    try {
      await using child = await startPostgresChild(order);
      expect(await query(child.superuserUrl, "SELECT 1")).toEqual([[1]]);
    } finally {
      other.kill();
    }
  });
});

test("a server that refuses its settings is start_failed, with the end of its log", async () => {
  const settings = { shared_buffers: "a lot" };
  await expect(startPostgres({ home: filled.path, fsync: false, settings })).rejects.toMatchObject({
    kind: "start_failed",
    message: expect.stringMatching(/exit status 1.*postgres\.log:\n.*"shared_buffers": "a lot"/s) as string,
  });
});

test("a locale that the machine lacks is told in words of its own", async () => {
  const settings = { lc_messages: "xx_XX.UTF-8" };
  await expect(startPostgres({ home: filled.path, fsync: false, settings })).rejects.toMatchObject({
    kind: "locale",
    message: expect.stringMatching(/^this machine lacks a locale/) as string,
  });
});

test("a moved home takes its data along, and a copy does not share it", async () => {
  const [moved, copy] = [`${filled.path}-moved`, `${filled.path}-copy`];
  await rename(filled.path, moved);
  await cp(moved, copy, { recursive: true, verbatimSymlinks: true });
  {
    await using server = await startPostgres({ home: moved, fsync: false });
    expect(await query(server.url("postgres", "postgres"), "SELECT n FROM t")).toEqual([[7]]);
    await using other = await startPostgres({ home: copy, fsync: false });
    expect(other.pid).not.toBe(server.pid);
    expect(await realpath(join(copy, "postgres"))).not.toBe(await realpath(join(moved, "postgres")));
  }
  await forgetPostgres({ home: copy });
  await rename(moved, filled.path);
});

test("a forgotten home starts with no data", async () => {
  const dataDir = await realpath(join(filled.path, "postgres"));
  await forgetPostgres({ home: filled.path });
  expect(
    [dataDir, join(filled.path, "postgres"), markerPath(dataDir)].filter((path) => existsSync(path)),
  ).toEqual([]);
  await using server = await startPostgres({ home: filled.path, fsync: false });
  expect(await query(server.url("postgres", "postgres"), "SELECT to_regclass('t')")).toEqual([[null]]);
});

test("forgetting a home that has no data does nothing", async () => {
  await using home = await makeTemporaryHome();
  await forgetPostgres({ home: home.path });
  expect(existsSync(home.path)).toBe(false);
});

test("a home that cannot be made is unwritable, and the message names it", async () => {
  await using home = await makeTemporaryHome();
  await writeFile(`${home.path}-file`, "");
  const below = join(`${home.path}-file`, "deeper");
  await expect(startPostgres({ home: below })).rejects.toMatchObject({
    kind: "unwritable",
    message: `the folder ${below} cannot be written (ENOTDIR)`,
  });
});

test.runIf(isRoot)("root does not touch the data of an ordinary user's home", async () => {
  await using home = await makeTemporaryHome();
  await mkdir(join(home.path, "postgres"), { recursive: true });
  await expect(startPostgres({ home: home.path })).rejects.toMatchObject({
    kind: "unwritable",
    message: expect.stringContaining("made by another user (0)") as string,
  });
});

test.skipIf(!existsSync(postgres15))(
  "another PostgreSQL, version 15, serves in place of the embedded one",
  async () => {
    await using home = await makeTemporaryHome();
    await using server = await startPostgres({ home: home.path, fsync: false, nativeDir: postgres15 });
    const sql =
      "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_encoding'), 'a' > 'B'";
    expect(await query(server.url("postgres", "postgres"), sql)).toEqual([[15, "UTF8", true]]);
    expect(dirname(server.logFile)).toBe(await realpath(home.path));
  },
);
