import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";
import { within } from "#libs/rpc/serve-for-test.ts";

const listens = `
  const { stopSignal } = await import(process.env.MODULE);
  const first = stopSignal();
  setInterval(() => {}, 1_000);
  console.log("up");
  console.log(await first);
`;
const hasNotBegun = `console.log("up"); setInterval(() => {}, 1_000);`;

/** Runs a program as services are run; each of its lines is answered with the next signal. Returns the lines and how it ended. */
async function run(program: string, signals: readonly NodeJS.Signals[]) {
  const args = ["--import", "./libs/telemetry/register.ts", "--input-type=module", "--eval", program];
  const env = { MODULE: new URL("./stop-signal.ts", import.meta.url).href };
  const child = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(child, "close");
  const left = [...signals];
  const lines: string[] = [];
  createInterface(child.stdout).on("line", (line) => {
    lines.push(line);
    const signal = left.shift();
    if (signal) child.kill(signal);
  });
  try {
    const [code, signal]: unknown[] = await within(ended, "the end", 20_000);
    return { lines, how: signal ?? code };
  } finally {
    child.kill("SIGKILL");
  }
}

test.each(["SIGTERM", "SIGINT"] as const)(
  "%s while a service's modules are still loaded ends the process with 0",
  async (signal) => {
    expect(await run(hasNotBegun, [signal])).toEqual({ lines: ["up"], how: 0 });
  },
);

test.each([
  ["SIGTERM", "SIGTERM", 143],
  ["SIGTERM", "SIGINT", 130],
  ["SIGINT", "SIGTERM", 143],
  ["SIGINT", "SIGINT", 130],
] as const)(
  "a service is told of the first, %s, and a second, %s, ends it at once with %i",
  async (first, second, code) => {
    expect(await run(listens, [first, second])).toEqual({ lines: ["up", first], how: code });
  },
);
