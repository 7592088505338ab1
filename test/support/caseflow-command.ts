import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { root } from "./local-stack.ts";
import { processEnv } from "./process-env.ts";

/** Where the command's services are, and who calls. */
export interface CaseflowTarget {
  readonly url: string;
  /** For commands that ask the audit service too. */
  readonly auditUrl?: string;
  readonly token: string;
}

export interface Ended {
  /** The exit code, or the signal's name. */
  readonly exit: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunningCaseflow {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
}

/** Runs the `caseflow` command as a process of its own, against a case service. */
export function startCaseflow(
  { url, auditUrl, token }: CaseflowTarget,
  args: readonly string[],
  nodeOptions: readonly string[] = [],
): RunningCaseflow {
  const child = spawn(process.execPath, [...nodeOptions, join(root, "services/cli/main.ts"), ...args], {
    cwd: root,
    env: {
      ...processEnv,
      CASE_URL: url,
      CASEFLOW_TOKEN: token,
      ...(auditUrl !== undefined && { AUDIT_URL: auditUrl }),
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const said = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk: Buffer) => (said.stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (said.stderr += chunk.toString()));
  const ended = once(child, "close").then(([code, signal]: unknown[]) => ({
    exit: (signal ?? code) as number | string,
    ...said,
  }));
  return { child, ended };
}

export function caseflow(target: CaseflowTarget, args: readonly string[]): Promise<Ended> {
  return startCaseflow(target, args).ended;
}

export interface Folder extends AsyncDisposable {
  path(name: string): string;
  lines<T>(name: string): Promise<T[]>;
}

/** A folder for files of a test, which goes when it is disposed. */
export async function openFolder(): Promise<Folder> {
  const folder = await mkdtemp(join(tmpdir(), "caseflow-files-"));
  const path = (name: string): string => join(folder, name);
  return {
    path,
    async lines<T>(name: string): Promise<T[]> {
      const text = await readFile(path(name), "utf8");
      return text
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as T);
    },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}
