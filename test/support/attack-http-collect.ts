import { writeSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";

/*
 * Loaded into a service under attack: at SIGUSR2 it collects its garbage and tells, in a line as those of its log are, how
 * many bytes it keeps, on its heap and beside it.
 */

const stdout = 1;

process.on("SIGUSR2", () => void tell());

async function tell(): Promise<void> {
  for (let time = 0; time < 2; time++) {
    await turn();
    globalThis.gc?.(); // What the first time finds dead may hold what only the second time can find so.
  }
  const { heapUsed, external } = process.memoryUsage();
  writeSync(stdout, `${JSON.stringify({ level: "info", msg: "kept", bytes: heapUsed + external })}\n`);
}
