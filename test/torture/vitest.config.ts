import { mergeConfig } from "vitest/config";

import ordinary from "../vitest.config.ts";

/**
 * The campaigns that an ordinary run only begins: a kill and a SIGTERM at every point, also where each one costs a process its start; 10,000
 * changes watched; many rounds of restarts; every way in which a database goes; many more random sequences, and bits turned in a log; a real
 * file imported whole.
 */
const torture = mergeConfig(ordinary, {
  test: {
    provide: { crashPointStride: 1 },
    env: { CASEFLOW_WATCH_CHANGES: "10000", CASEFLOW_RUNS: "300" },
  },
});
delete torture.test.projects;
torture.test.include = [
  "test/hostile/brownout.test.ts",
  "test/hostile/crash-*.test.ts",
  "test/hostile/model.test.ts",
  "test/hostile/rolling-restart.test.ts",
  "test/hostile/stop.test.ts",
  "test/hostile/turned-bits.test.ts",
  "test/hostile/watch.test.ts",
  "test/import.test.ts",
];

export default torture;
