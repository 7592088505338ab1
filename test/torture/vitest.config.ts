import { mergeConfig } from "vitest/config";

import ordinary from "../vitest.config.ts";

/** The crash tests with a kill at every point, also where each one costs a process its start. */
const torture = mergeConfig(ordinary, { test: { provide: { crashPointStride: 1 } } });
torture.test.include = ["test/hostile/crash-*.test.ts"];

export default torture;
