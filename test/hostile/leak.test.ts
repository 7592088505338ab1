import { spawn } from "node:child_process";
import { once } from "node:events";
import { open, readdir, readFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { expect, test } from "vitest";
import { cloneCaseDatabase } from "../support/databases.ts";
import { watchLeaks } from "../support/leak-watch.ts";

/* The leak check itself: whatever is planted it must find, and name. */

test("every file of this suite is checked for leaks, but for those that are about the check", async () => {
  const names = (await readdir(import.meta.dirname)).filter((name) => name.endsWith(".test.ts"));
  const texts = await Promise.all(names.map((name) => readFile(join(import.meta.dirname, name), "utf8")));
  const unchecked = names.filter((_, index) => !/^expectNoLeaks\(\);$/m.test(texts[index]!));
  expect(unchecked.toSorted()).toEqual(["leak-services.test.ts", "leak.test.ts"]);
});

/** What is planted stays: there is no point in waiting long for it to go. */
const briefMs = 200;

/** Leaves something open; returns what closes it. */
type Plant = () => Promise<() => unknown>;

const plants: readonly [string, RegExp, Plant][] = [
  [
    "a timer that keeps the process alive",
    /^timer .*leak\.test/,
    async () => {
      const timer = setTimeout(() => {}, 60_000);
      return () => clearTimeout(timer);
    },
  ],
  [
    "a timer that does not",
    /^timer .*leak\.test/,
    async () => {
      const timer = setInterval(() => {}, 60_000).unref();
      return () => clearInterval(timer);
    },
  ],
  [
    "a listening server",
    /^TCP server 127\.0\.0\.1:\d+/,
    async () => {
      const server = createServer().listen(0, "127.0.0.1");
      await once(server, "listening");
      return () => server.close();
    },
  ],
  [
    "a server on a Unix socket",
    /^Unix socket server .*leak\.test/,
    async () => {
      const server = createServer().listen(join(tmpdir(), `leak-${process.pid}.sock`));
      await once(server, "listening");
      return () => server.close();
    },
  ],
  [
    "a child process",
    /^child process .*leak\.test/,
    async () => {
      const child = spawn("sleep", ["60"], { stdio: "ignore" });
      return () => child.kill("SIGKILL");
    },
  ],
  [
    "an open file",
    /^open file/,
    async () => {
      const file = await open(import.meta.filename);
      return () => file.close();
    },
  ],
  [
    "a listener on the process",
    /^process listener on rejectionHandled, 1 more/,
    async () => {
      const listener = () => {};
      process.on("rejectionHandled", listener);
      return () => process.off("rejectionHandled", listener);
    },
  ],
  [
    "a signal handler",
    /^process listener on SIGUSR2, 1 more/,
    async () => {
      const listener = () => {};
      process.on("SIGUSR2", listener);
      return () => process.off("SIGUSR2", listener);
    },
  ],
  [
    "a pooled database connection",
    /^Unix socket or pipe .*leak\.test/,
    async () => {
      const database = await cloneCaseDatabase();
      const pool = new pg.Pool({ connectionString: database.appUrl });
      await pool.query("SELECT 1");
      return async () => {
        await pool.end();
        await database[Symbol.asyncDispose]();
      };
    },
  ],
];

test.each(plants)(
  "%s that is left behind is found and named, and gone when it is closed",
  async (_, line, plant) => {
    using watch = watchLeaks();
    const close = await plant();
    const left = await watch.left(briefMs);
    await close();
    expect(
      left.filter((one) => line.test(one)),
      left.join("\n"),
    ).not.toEqual([]);
    expect(await watch.left()).toEqual([]);
  },
);

test("both ends of a connection that is left open are found", async () => {
  using watch = watchLeaks();
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("it listens on TCP");
  const [accepted] = await Promise.all([once(server, "connection"), connectTo(address.port)]);
  server.close();
  const left = await watch.left(briefMs);
  accepted[0].destroy();
  expect(left).toHaveLength(2);
  expect(left.filter((line) => line.startsWith("TCP socket"))).toHaveLength(2);
  expect(await watch.left()).toEqual([]);
});

async function connectTo(port: number): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
}

test.each([
  ["connection", "SELECT 1", /: database connection of stray, idle/],
  ["transaction", "BEGIN", /: database transaction of stray, idle in transaction/],
])("a database %s that is open when its database is dropped is found", async (_, query, line) => {
  using watch = watchLeaks(briefMs);
  const database = await cloneCaseDatabase();
  const stray = new pg.Client({ connectionString: database.appUrl, application_name: "stray" });
  stray.on("error", () => {}); // The drop puts it out.
  await stray.connect();
  await stray.query(query);
  await database[Symbol.asyncDispose]();
  const left = await watch.left(briefMs);
  expect(left).toHaveLength(1);
  expect(left[0]).toMatch(line);
});
