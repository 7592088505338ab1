import { execFile, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { chmod, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openFolder, type Folder } from "./support/caseflow-command.ts";
import { tenant } from "./support/case-service.ts";
import { root } from "./support/local-stack.ts";
import { readRules } from "./support/observability.ts";
import { startObservedPair, type ObservedPair } from "./support/observed-pair.ts";
import { processEnv } from "./support/process-env.ts";
import { scrape } from "./support/scrape.ts";
import { waitUntil } from "./support/wait-until.ts";

/* docs/runbook.md, done as it is printed, against a running pair with a dead letter; and docs/slo.md beside the rules. */

const run = promisify(execFile);
const runMs = 60_000;
const programs = ["bash", "curl", "psql", "grep", "cut", "sed", "date"];
const missing = programs.filter((name) => spawnSync(name, ["--version"]).status !== 0);

interface Section {
  readonly title: string;
  readonly script: string;
}

const [first = "", ...sections] = readFileSync("docs/runbook.md", "utf8").split(/^## /m);
const commandsOf = (text: string): string =>
  Array.from(text.matchAll(/^```sh\n(.*?)^```$/gms), ([, code]) => code ?? "").join("\n");
const all: readonly Section[] = sections.map((text) => ({
  title: text.split("\n", 1)[0] ?? "",
  script: commandsOf(text),
}));
const withCommands = all.filter(({ script }) => script !== "").map(({ title, script }) => [title, script]);

/** What these look for is there once calls fail, and in a process with a breaker: neither is so here. */
const absentHere = ["CaseflowErrorBudgetBurn", "CaseflowBreakerOpen"];

let pair: ObservedPair;
let folder: Folder;
let env: Record<string, string | undefined>;

beforeAll(async () => {
  if (missing.length > 0) return;
  pair = await startObservedPair();
  folder = await openFolder();
  const command = folder.path("caseflow");
  const program = join(root, "services/cli/main.ts");
  await writeFile(command, `#!/bin/sh\nexec "${process.execPath}" "${program}" "$@"\n`);
  await chmod(command, 0o755);
  const roles = ["operator", "auditor"];
  env = {
    ...processEnv,
    PATH: `${dirname(command)}:${processEnv.PATH}`,
    CASE_METRICS: pair.cases.metricsUrl,
    AUDIT_METRICS: pair.audit.metricsUrl,
    CASE_SUPERUSER_URL: pair.caseDatabase.superuserUrl,
    AUDIT_SUPERUSER_URL: pair.auditDatabase.superuserUrl,
    CASE_URL: pair.cases.url,
    AUDIT_URL: pair.audit.url,
    CASEFLOW_TOKEN: await pair.issuer.token({ tenant, sub: "operator", roles }),
  };
  await waitUntil(async () => (await scrape(pair.cases.metricsUrl)).sum("dead_letters") === 1);
}, 120_000);
afterAll(async () => {
  await folder?.[Symbol.asyncDispose]();
  await pair?.[Symbol.asyncDispose]();
});

test("every alert has its section, and every section its alert", async () => {
  const alerts = new Set((await readRules()).alerts.map(({ alert }) => alert));
  expect(all.map(({ title }) => title).toSorted()).toEqual([...alerts].toSorted());
});

test.skipIf(missing.length > 0).each(withCommands)(
  "the commands of %s run as they are pasted, and say something",
  async (title = "", script = "") => {
    const { stdout } = await run(
      "bash",
      ["--norc", "-euo", "pipefail", "-c", `${commandsOf(first)}\n${script}`],
      {
        env,
        timeout: runMs,
      },
    );
    expect(stdout).toMatch(/\S/);
    if (!absentHere.includes(title)) expect(stdout).not.toContain("none: ");
  },
  runMs,
);

test("the windows and burn rates of docs/slo.md are those of the rules", async () => {
  const slo = readFileSync("docs/slo.md", "utf8");
  const rows = Array.from(
    slo.matchAll(/^\| (page|ticket) \| above ([\d.]+) \| (\w+ \w+) and (\w+ \w+) \|/gm),
    ([, severity, rate, long = "", short = ""]) => ({
      severity,
      rate,
      long: toWindow(long),
      short: toWindow(short),
    }),
  );
  expect(rows).toHaveLength(4);
  const { alerts } = await readRules();
  for (const [alert, share, budget] of [
    ["CaseflowErrorBudgetBurn", "errors", "0.001"],
    ["CaseflowLatencyBudgetBurn", "slow", "0.01"],
  ] as const) {
    for (const severity of ["page", "ticket"]) {
      const rule = alerts.find((one) => one.alert === alert && one.labels["severity"] === severity);
      const exceeds = (window: string, rate = "") =>
        `job:rpc_${share}:ratio_rate${window} > ${rate} * ${budget}`;
      const wanted = rows
        .filter((row) => row.severity === severity)
        .map(({ rate, long, short }) => `(${exceeds(long, rate)} and ${exceeds(short, rate)})`);
      expect(rule?.expr).toBe(wanted.join(" or "));
    }
  }
});

/** `30 min` as Prometheus writes it: `30m`. */
function toWindow(text: string): string {
  const [count, unit = ""] = text.split(" ");
  return `${count}${unit[0]}`;
}
