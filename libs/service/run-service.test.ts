import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const run = promisify(execFile);

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A service that does `act` once it runs, with an error at hand that quotes a row. */
async function runProgram(act: string): Promise<Ended> {
  const program = `
    import { runService } from "#libs/service/run-service.ts";
    const refused = Object.assign(new Error('no such value: "hunter2"'), { code: "22P02", detail: "hunter2" });
    await runService({}, {
      name: "some",
      readConfig: () => ({ logLevel: "info" }),
      start: async () => {
        ${act}
        return { facts: {}, async [Symbol.asyncDispose]() {} };
      },
    });`;
  const args = ["--input-type=module", "--eval", program];
  return run(process.execPath, args, { timeout: 20_000 }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: Ended) => error,
  );
}

test.each([
  ["an error that nobody catches", "setImmediate(() => { throw refused; });", "crashed"],
  ["a rejection that nobody catches", "setImmediate(() => void Promise.reject(refused));", "crashed"],
  ["a start that fails", "throw refused;", 'no such value: "…"'],
])(
  "%s ends the process with 1 and a line that tells no more of the error than any other",
  async (_what, act, msg) => {
    const { code, stdout, stderr } = await runProgram(act);
    expect(code).toBe(1);
    // A write that was under way may end after the last one: lines of a crash are not in order.
    const lines = stdout
      .trimEnd()
      .split("\n")
      .map((line): Record<string, unknown> => JSON.parse(line));
    const fatal = lines.filter(({ level }) => level === "fatal");
    expect(fatal).toMatchObject([{ service: "some", msg, err: { code: "22P02" } }]);
    expect(stdout + stderr).not.toContain("hunter2");
  },
);
