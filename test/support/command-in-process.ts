import { vi } from "vitest";
import { createProgram, tellFailure } from "#services/cli/main.ts";
import { readConfig } from "#services/cli/config.ts";
import type { Ended } from "./caseflow-command.ts";

/**
 * Runs the `caseflow` command in this process, for tests that run it often: a process of its own takes most of a second to start.
 * One at a time.
 */
export async function commandInProcess(
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<Ended> {
  const said = { stdout: "", stderr: "" };
  const toText = (parts: unknown[]) => `${parts.join(" ")}\n`;
  const spies = [
    vi.spyOn(console, "log").mockImplementation((...parts) => void (said.stdout += toText(parts))),
    vi.spyOn(console, "error").mockImplementation((...parts) => void (said.stderr += toText(parts))),
    ...(["stdout", "stderr"] as const).map((name) =>
      vi.spyOn(process[name], "write").mockImplementation((text) => {
        said[name] += typeof text === "string" ? text : Buffer.from(text).toString("utf8");
        return true;
      }),
    ),
  ];
  const exitBefore = process.exitCode;
  process.exitCode = 0;
  try {
    await createProgram(readConfig(env)).parseAsync(["node", "caseflow", ...args]);
  } catch (error) {
    process.exitCode = tellFailure(error);
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  const exit: unknown = process.exitCode;
  process.exitCode = exitBefore;
  return { exit: Number(exit), ...said };
}
