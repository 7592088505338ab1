import { execFile, spawnSync } from "node:child_process";
import { promisify } from "node:util";
import { beforeAll, expect, test } from "vitest";
import {
  metricsBehind,
  prometheusFolder,
  readPrometheusFile,
  readRules,
  readRuleTests,
  ruleFiles,
  testFileOf,
  type AlertRule,
  type Rules,
  type RuleTest,
} from "./support/observability.ts";
import { readExpression } from "./support/promql.ts";

/* The rules of Prometheus and their unit tests, which promtool runs where it is installed (Debian's package `prometheus`). */

const run = promisify(execFile);
const promtool = spawnSync("promtool", ["--version"]).status === 0 ? "promtool" : undefined;
const promtoolMs = 120_000;

let rules: Rules;
let ruleTests: readonly RuleTest[];
beforeAll(async () => {
  [rules, ruleTests] = await Promise.all([readRules(), readRuleTests()]);
});

/** What the unit tests say of an alert: the metrics that are there when it fires, and when it does not. */
function toldOf({ alert, labels }: AlertRule, fires: boolean): Set<string>[] {
  const asked = `ALERTS{alertname="${alert}",severity="${labels["severity"]}",alertstate="firing"}`;
  return ruleTests
    .filter(({ promql_expr_test: checks }) =>
      checks.some(({ expr, exp_samples: samples }) => expr === asked && samples.length > 0 === fires),
    )
    .map(
      ({ input_series: inputs }) =>
        new Set(inputs.flatMap(({ series }) => readExpression(series).selectors.map(({ name }) => name))),
    );
}

test("every alert has a unit test in which it fires, and one in which all it looks at is there and it is quiet", () => {
  const lacking = rules.alerts.flatMap((rule) => {
    const behind = metricsBehind(rule.expr, rules);
    const { alert, labels } = rule;
    const name = `${alert} (${labels["severity"]})`;
    return [
      ...(toldOf(rule, true).length === 0 ? [`${name} never fires`] : []),
      ...(toldOf(rule, false).some((given) => behind.isSubsetOf(given)) ? [] : [`${name} is never quiet`]),
    ];
  });
  expect(lacking).toEqual([]);
  expect(rules.alerts.length).toBeGreaterThan(20);
});

test("no unit test asks for an alert that there is not", () => {
  const known = new Set(rules.alerts.map(({ alert, labels }) => `${alert} ${labels["severity"]}`));
  const asked = ruleTests.flatMap(({ promql_expr_test: checks }) =>
    checks.flatMap(({ expr }) =>
      readExpression(expr).selectors.map(({ matchers }) =>
        ["alertname", "severity"]
          .map((name) => matchers.find(({ label }) => label === name)?.value)
          .join(" "),
      ),
    ),
  );
  expect(asked.filter((name) => !known.has(name))).toEqual([]);
});

test("every alert pages or makes a ticket, and says what is the matter and where to read on", () => {
  for (const { alert, labels, annotations } of rules.alerts) {
    expect(["page", "ticket"], alert).toContain(labels["severity"]);
    expect(annotations["summary"], alert).toMatch(/\S/);
    expect(annotations["description"], alert).toMatch(/\.$/);
    expect(annotations["runbook_url"], alert).toBe(`docs/runbook.md#${alert.toLowerCase()}`);
  }
});

test("everything that is recorded is asked for, and every job that is asked for is scraped", async () => {
  const { scrape_configs: configs } = await readPrometheusFile<{ scrape_configs: { job_name: string }[] }>(
    "prometheus.yaml",
  );
  const selectors = [...rules.recordings, ...rules.alerts].flatMap(
    ({ expr }) => readExpression(expr).selectors,
  );
  const asked = new Set(selectors.map(({ name }) => name));
  expect(rules.recordings.filter(({ record }) => !asked.has(record))).toEqual([]);
  const jobs = selectors.flatMap(({ matchers }) =>
    matchers.flatMap(({ label, value }) => (label === "job" ? value.split("|") : [])),
  );
  expect(new Set(jobs)).toEqual(new Set(configs.map(({ job_name: name }) => name)));
});

test.skipIf(promtool === undefined)("promtool takes the rules and the sample configuration", async () => {
  for (const args of [
    ["rules", ...ruleFiles],
    ["config", "prometheus.yaml"],
  ]) {
    const { stdout } = await run("promtool", ["check", ...args], { cwd: prometheusFolder });
    expect(stdout).toContain("SUCCESS");
  }
});

/** Groups that are evaluated in another order see what was recorded one step before, which is too old for them. */
test("unit tests evaluate the groups in the order of the rules", async () => {
  for (const file of ruleFiles) {
    const { groups } = await readPrometheusFile<{ groups: { name: string }[] }>(file);
    const told = await readPrometheusFile<{ group_eval_order: string[] }>(testFileOf(file));
    expect(told.group_eval_order, file).toEqual(groups.map(({ name }) => name));
  }
});

test.skipIf(promtool === undefined).each(ruleFiles.map(testFileOf))(
  "each alert fires and is quiet as %s says",
  async (file) => {
    const ended = await run("promtool", ["test", "rules", file], { cwd: prometheusFolder }).catch(
      (error: { stdout: string; stderr: string }) => error,
    );
    expect(`${ended.stdout}${ended.stderr}`).toBe(`Unit Testing:  ${file}\n  SUCCESS\n\n`);
  },
  promtoolMs,
);
