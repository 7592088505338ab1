import { benchBrownout } from "./brownout.ts";
import { benchBudgets } from "./budgets.ts";
import { benchFlood } from "./flood.ts";
import { benchLog } from "./log.ts";
import { benchMetrics } from "./metrics.ts";
import { benchOverload } from "./overload.ts";

/* `npm run bench`: one file a benchmark. Exit 0 when every bar passes, 1 when one does not, 2 when it was not understood. */

interface Benchmark {
  readonly about: string;
  /** Measures, reports bars, and tells whether all of them pass. */
  readonly run: () => Promise<boolean>;
}

const benchmarks: Readonly<Record<string, Benchmark>> = {
  brownout: {
    about: "a frozen database: until all calls are answered, until it goes on, and memory",
    run: benchBrownout,
  },
  budgets: { about: "p95 of create, submit, get and health at 200 calls a second", run: benchBudgets },
  flood: { about: "what one tenant's flood does to the p95 of another's calls", run: benchFlood },
  log: { about: "a million events appended, queried, exported and verified", run: benchLog },
  metrics: {
    about: "throughput with metrics against without, also while they are asked for",
    run: benchMetrics,
  },
  overload: {
    about: "goodput in and after an overload, with and without the retry budget",
    run: benchOverload,
  },
};

const help = `npm run bench -- NAME…

${Object.entries(benchmarks)
  .map(([name, { about }]) => `  ${name.padEnd(10)} ${about}`)
  .join("\n")}

Bars go into bench-report.json ({"bars":[{"name","value","atLeast","pass"}]}, other benchmarks' bars stay), plots into bench/.`;

const names = process.argv.slice(2);
const unknown = names.filter((name) => !Object.hasOwn(benchmarks, name));
if (names.includes("--help")) console.log(help);
else if (names.length === 0 || unknown.length > 0) {
  console.error(unknown.length > 0 ? `no benchmark ${unknown.join(", ")}\n\n${help}` : help);
  process.exitCode = 2;
} else {
  for (const name of names) if (!(await benchmarks[name]?.run())) process.exitCode = 1;
}
