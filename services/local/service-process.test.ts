import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { expect, test } from "vitest";

import { findLeftovers, stackVariable } from "./leftovers.ts";
import { lastWords, startService } from "./service-process.ts";

/** A service that says `up`, and `stopped by …` once it is told to stop. */
const wellBehaved = `
  process.once("SIGTERM", () => { console.log("stopped by SIGTERM"); process.exit(7); });
  setInterval(() => {}, 1000);
  console.log("up");`;

test("a service is stopped by SIGTERM, and its end is told", async () => {
  await using place = await openPlace();
  const service = await startService(place.options(wellBehaved));
  await expect.poll(() => service.readLog(), { timeout: 5_000 }).toContain("up");

  await service[Symbol.asyncDispose]();

  expect(await service.ended).toBe("with exit code 7");
  expect(await service.readLog()).toBe("up\nstopped by SIGTERM\n");
});

test("a service whose stack is killed is told to stop by the kernel", async () => {
  await using place = await openPlace();
  const options = place.options(wellBehaved);
  const source = `import { startService } from ${JSON.stringify(import.meta.resolve("./service-process.ts"))};
    const service = await startService(JSON.parse(process.argv[1]));
    console.log(service.pid); setInterval(() => {}, 1000);`;
  const stack = spawn(process.execPath, ["--input-type=module", "-e", source, JSON.stringify(options)]);
  const [said] = await once(stack.stdout, "data");
  const pid = Number(said);
  await expect.poll(() => readFile(options.logFile, "utf8"), { timeout: 5_000 }).toContain("up");
  expect(await findLeftovers(place.path)).toEqual([pid]);

  stack.kill("SIGKILL");

  await expect.poll(() => findLeftovers(place.path), { timeout: 5_000 }).toEqual([]);
  expect(await readFile(options.logFile, "utf8")).toContain("stopped by SIGTERM");
});

test("the log of the start before is kept beside the present one", async () => {
  await using place = await openPlace();
  for (const word of ["first", "second"]) {
    const service = await startService(place.options(`console.log("${word}")`));
    await service.ended;
  }
  expect(await readFile(join(place.path, "service.log"), "utf8")).toBe("second\n");
  expect(await readFile(join(place.path, "service.previous.log"), "utf8")).toBe("first\n");
});

test("last words are messages with their errors, and what is no JSON as it is", () => {
  const log = `{"msg":"gone"}\n{"msg":"failed","err":{"message":"no route"}}\n\nError: at the very end\n`;
  expect(lastWords(log, 2)).toEqual(["failed: no route", "Error: at the very end"]);
});

test("of a log with a warning in it, what is ordinary is left out of the last words", () => {
  const ordinary = `{"level":"info","msg":"call"}\n`;
  expect(lastWords(ordinary.repeat(3), 2)).toEqual(["call", "call"]);
  expect(lastWords(`{"level":"warn","msg":"odd"}\n${ordinary.repeat(3)}`, 2)).toEqual(["odd"]);
});

async function openPlace() {
  const path = await mkdtemp(join(tmpdir(), "service-"));
  return {
    path,
    options: (source: string) => ({
      name: "service",
      args: ["-e", source],
      cwd: path,
      env: { [stackVariable]: path },
      logFile: join(path, "service.log"),
    }),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true }),
  };
}
