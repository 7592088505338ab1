import { fileURLToPath } from "node:url";

import { defineConfig } from "vitest/config";

/** Programs that tests start find their modules compiled here. */
const compiled = fileURLToPath(new URL("../node_modules/.cache/compiled", import.meta.url));

export default defineConfig({
  test: {
    env: { NODE_COMPILE_CACHE: compiled },
    include: ["**/*.test.ts"],
    exclude: ["**/node_modules/**", "**/.caseflow/**"],
    pool: "forks",
    maxWorkers: 3, // Files at a time: each may run services of its own, and waits for them half of its time.
    globalSetup: fileURLToPath(new URL("support/cluster.ts", import.meta.url)),
    provide: { crashPointStride: 18 }, // `npm run torture` takes them all.
    testTimeout: 30_000,
    hookTimeout: 60_000,
    teardownTimeout: 30_000,
    expect: { poll: { timeout: 10_000 } }, // What a test waits for comes late on a busy machine.
  },
});
