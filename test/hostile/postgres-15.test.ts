import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { findPostgres15 } from "../support/attack-postgres-15.ts";
import { expectNoLeaks } from "../support/leak-check.ts";

expectNoLeaks();

/*
 * The schema and the statements hold on the oldest PostgreSQL that they are made for. The suite's own tests of SQL run again
 * there, in a run of their own: they migrate both databases and drive the statements, the append, and what the schema refuses.
 */

const files = [
  "test/hostile/postgres-15-server.test.ts",
  "services/case/store",
  "services/audit/store",
  "test/hostile/tenant-statements.test.ts",
  "test/hostile/catalogue",
  "test/hostile/grants.test.ts",
  "test/hostile/grants-approvals.test.ts",
  "test/hostile/grants-entries.test.ts",
];
/** What it computes it compares in this process; its statements run in other files of these. */
const beside = "services/audit/store/append-tree.test.ts";
const runMs = 300_000;
const root = fileURLToPath(new URL("../..", import.meta.url));

/** What of vitest's JSON report is looked at. */
interface Report {
  readonly numPassedTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

test(
  "the tests of SQL pass on PostgreSQL 15, where it is",
  { timeout: runMs },
  async ({ annotate, skip }) => {
    const bin = await findPostgres15();
    if (bin === undefined)
      skip("the programs of PostgreSQL 15 are not on this machine (Debian: postgresql-15)");
    const report = await runOn(bin!);
    expect(report.testResults.flatMap(failuresOf)).toEqual([]);
    expect(report.numPassedTests).toBeGreaterThan(50);
    await annotate(`${report.numPassedTests} tests passed on ${bin}`);
  },
);

function failuresOf({
  name,
  status,
  message,
  assertionResults,
}: Report["testResults"][number]): readonly string[] {
  const failed = assertionResults.filter((result) => result.status === "failed");
  const told = failed.map(
    ({ fullName, failureMessages }) => `${name}: ${fullName}\n${failureMessages.join("\n")}`,
  );
  return status === "failed" && told.length === 0 ? [`${name}: ${message}`] : told;
}

async function runOn(folder: string): Promise<Report> {
  const inherited = Object.entries(process.env).filter(
    ([key]) => !/^(VITEST|NODE_ENV|NODE_OPTIONS|TEST$)/.test(key),
  );
  const env = { ...Object.fromEntries(inherited), TEST_POSTGRES_BIN: folder };
  const scratch = await mkdtemp(join(tmpdir(), "caseflow-postgres-15-"));
  const reportFile = join(scratch, "report.json");
  const vitest = [
    "node_modules/vitest/vitest.mjs",
    "run",
    "--config",
    "test/vitest.config.ts",
    "--root",
    ".",
    ...["--exclude", beside],
    ...["--maxWorkers", "1", "--isolate=false"], // What the files share is loaded once.
  ];
  const reporting = ["--reporter", "json", "--outputFile", reportFile];
  try {
    // It exits with 1 when a test fails, of which the report says more.
    const said = await promisify(execFile)(process.execPath, [...vitest, ...reporting, ...files], {
      cwd: root,
      env,
      timeout: runMs,
    }).catch((error: unknown) => error);
    const text = await readFile(reportFile, "utf8").catch(() =>
      Promise.reject(new Error("no report", { cause: said })),
    );
    return JSON.parse(text) as Report; // As vitest's JSON reporter writes it.
  } finally {
    await rm(scratch, { recursive: true });
  }
}
