import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { readExpression } from "./promql.ts";

export const prometheusFolder = "deploy/observability/prometheus";
/** Files of rules and, beside each, of its unit tests. */
export const ruleFiles = ["slo.yaml", "rules.yaml"] as const;
export const testFileOf = (file: (typeof ruleFiles)[number]): string => file.replace(".yaml", ".test.yaml");

export interface RecordingRule {
  readonly record: string;
  readonly expr: string;
}

export interface AlertRule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface Rules {
  readonly recordings: readonly RecordingRule[];
  readonly alerts: readonly AlertRule[];
}

export interface RuleTest {
  readonly name: string;
  readonly input_series: readonly { readonly series: string; readonly values: string | number }[];
  readonly promql_expr_test: readonly {
    readonly expr: string;
    readonly exp_samples: readonly { readonly labels: string; readonly value: number }[];
  }[];
}

/** Reads a file of `deploy/observability/prometheus`. Its form is for `promtool check` to judge. */
export async function readPrometheusFile<T>(name: string): Promise<T> {
  return parse(await readFile(`${prometheusFolder}/${name}`, "utf8")) as T;
}

export async function readRules(): Promise<Rules> {
  const files = await Promise.all(
    ruleFiles.map((name) => readPrometheusFile<{ groups: { rules: (AlertRule | RecordingRule)[] }[] }>(name)),
  );
  const rules = files.flatMap(({ groups }) => groups.flatMap((group) => group.rules));
  return {
    recordings: rules.filter((rule) => "record" in rule),
    alerts: rules.filter((rule) => "alert" in rule),
  };
}

export async function readRuleTests(): Promise<RuleTest[]> {
  const files = await Promise.all(
    ruleFiles.map((name) => readPrometheusFile<{ tests: RuleTest[] }>(testFileOf(name))),
  );
  return files.flatMap(({ tests }) => tests);
}

/** The names of metrics that an expression rests on, in the end: those of the rules that record what it names. */
export function metricsBehind(expr: string, { recordings }: Rules): Set<string> {
  const names = readExpression(expr).selectors.flatMap(({ name }) => {
    const recorded = recordings.find(({ record }) => record === name);
    return recorded ? [...metricsBehind(recorded.expr, { recordings, alerts: [] })] : [name];
  });
  return new Set(names);
}
