import { fileURLToPath } from "node:url";

import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Programs that tests start find their modules compiled here. */
const compiled = fileURLToPath(new URL("../node_modules/.cache/compiled", import.meta.url));

/** Files that run whole services come first: the short ones fill up the end, where else one long file would run alone. */
class WholeServicesFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const bySize = await BaseSequencer.prototype.sort.call(this, files);
    const whole = bySize.filter(({ moduleId }) => wholeServices.test(moduleId));
    const parts = bySize.filter(({ moduleId }) => !wholeServices.test(moduleId));
    return [...whole, ...parts];
  }
}
const wholeServices = /\/(test|contracts)\/[^/]+\.test\.ts$|\/test\/hostile\//;

/** They set what a process has one of: where its telemetry goes. */
const ofOneProcess = [
  "libs/client/call-events.test.ts",
  "libs/telemetry/{log,sdk,spans}.test.ts",
  "services/case/rpc/audit-recorder.test.ts",
];

export default defineConfig({
  test: {
    env: { NODE_COMPILE_CACHE: compiled },
    projects: [
      { extends: true, test: { name: "whole", include: ["test/**/*.test.ts", ...ofOneProcess] } },
      {
        extends: true,
        test: {
          name: "parts",
          include: ["{libs,services,contracts}/**/*.test.ts"],
          exclude: ofOneProcess,
          isolate: false, // One process for many files: loading their modules takes longer than most of these tests.
        },
      },
    ],
    pool: "forks",
    execArgv: ["--min-semi-space-size=16"], // MiB: from 1 MiB up, it collects garbage 1,800 times a file.
    experimental: { viteModuleRunner: false, nodeLoader: false }, // Node reads our TypeScript itself, and keeps it compiled.
    sequence: { sequencer: WholeServicesFirst },
    maxWorkers: 3, // Files at a time: each may run services of its own, and waits for them half of its time.
    globalSetup: fileURLToPath(new URL("support/cluster.ts", import.meta.url)),
    provide: { crashPointStride: 18 }, // `npm run torture` takes them all.
    testTimeout: 60_000, // What hangs ends here; a busy machine takes its time.
    hookTimeout: 60_000,
    teardownTimeout: 30_000,
    expect: { poll: { timeout: 10_000 } }, // What a test waits for comes late on a busy machine.
  },
});
