import { spawn } from "node:child_process";
import { once } from "node:events";

import { expect, test } from "vitest";

import { clearLeftovers, findLeftovers, stackVariable } from "./leftovers.ts";

test("what a killed stack left behind is waited for while it ends", async () => {
  const home = "/nowhere/ending";
  await using service = await leave(home, "echo up; exec sleep 0.3");
  expect(await findLeftovers(home)).toEqual([service.pid]);
  await clearLeftovers(home);
  expect(await findLeftovers(home)).toEqual([]);
  expect(await service.ended).toEqual([0, null]);
});

test("what does not end in time is killed, and a stack of another folder is left alone", async () => {
  const home = "/nowhere/stuck";
  await using stuck = await leave(home, "echo up; exec sleep 60");
  await using other = await leave(`${home}-not`, "echo up; exec sleep 60");
  await clearLeftovers(home, 100);
  expect(await stuck.ended).toEqual([null, "SIGKILL"]);
  expect(await findLeftovers(`${home}-not`)).toEqual([other.pid]);
});

/** Runs a script as a stack of `home` would run a service, and waits until it says something. */
async function leave(home: string, script: string) {
  const child = spawn("sh", ["-c", script], { env: { [stackVariable]: home, PATH: "/usr/bin:/bin" } });
  const ended = once(child, "exit");
  await once(child.stdout, "data");
  return {
    pid: child.pid,
    ended,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}
