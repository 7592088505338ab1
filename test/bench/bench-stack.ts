import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Stack } from "#libs/client/stack.ts";
import { readConfig } from "#services/local/config.ts";
import { startStack } from "#services/local/start-stack.ts";

export interface BenchStack extends AsyncDisposable {
  readonly stack: Stack;
  /** Its folder. */
  readonly home: string;
}

/** A stack of a benchmark's own: both services as processes, PostgreSQL, a folder and ports that nobody else has. */
export async function openBenchStack(): Promise<BenchStack> {
  await using opened = new AsyncDisposableStack();
  const home = await mkdtemp(join(tmpdir(), "caseflow-bench-"));
  opened.defer(() => rm(home, { recursive: true, force: true }));
  const ports = { CASE_PORT: "0", CASE_METRICS_PORT: "0", AUDIT_PORT: "0", AUDIT_METRICS_PORT: "0" };
  const config = readConfig({ PATH: process.env["PATH"], CASEFLOW_HOME: home, ...ports });
  const progress = { step: <T>(_name: string, work: (note: () => void) => Promise<T>) => work(() => {}) };
  const { stack } = opened.use(
    await startStack({ config, reset: false, progress, signal: new AbortController().signal }),
  );
  const running = opened.move();
  return { stack, home, [Symbol.asyncDispose]: () => running.disposeAsync() };
}
