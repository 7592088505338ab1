import { Code, ConnectError } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createCaseClient } from "#libs/client/case-client.ts";
import { AuditService } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { CaseAdminService } from "#libs/gen/caseflow/cases/v1/case_admin_service_pb.ts";
import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { ErrorReasonSchema } from "#libs/gen/caseflow/options/v1/error_reason_pb.ts";
import { Health } from "#libs/gen/grpc/health/v1/health_pb.ts";
import { codeName } from "#libs/rpc/code-name.ts";
import { renderMetrics, shutdownMetrics, startMetrics } from "#libs/telemetry/metrics.ts";
import { graphsOf, readDashboards } from "./support/dashboards.ts";
import { readRules, readRuleTests, type Rules } from "./support/observability.ts";
import { startObservedPair, type ObservedPair } from "./support/observed-pair.ts";
import { readExpression, type Expression, type Matcher, type Selector } from "./support/promql.ts";
import { readScrape, scrape, type Sample } from "./support/scrape.ts";
import { startScriptedService } from "./support/scripted-service.ts";
import { waitUntil } from "./support/wait-until.ts";

/*
 * What rules, their unit tests and panels ask for is there: each metric, with each label and each value that is asked for, on a
 * running pair and on a caller with the typed client's whole defence.
 */

const served = [CaseService, CaseAdminService, AuditService];
const methods = [...served, Health].flatMap(({ typeName, methods: own }) =>
  own.map(({ name, methodKind }) => ({ path: `${typeName}/${name}`, methodKind })),
);

/** What `code`, `reason` and `method` of served calls can be, by the schema, whether or not it happened here. */
const possible: Readonly<Record<string, readonly string[]>> = {
  code: ["ok", ...Object.values(Code).flatMap((code) => (typeof code === "number" ? [codeName(code)] : []))],
  reason: ErrorReasonSchema.values.map(({ name }) => name.replace("ERROR_REASON_", "")),
  method: methods.map(({ path }) => path),
};
/** What Prometheus itself adds. */
const ofPrometheus = ["job", "instance"];

let pair: ObservedPair;
let rules: Rules;
let samples: readonly Sample[];

beforeAll(async () => {
  await startMetrics({}, { name: "caller", version: "0", commit: "none" });
  pair = await startObservedPair();
  rules = await readRules();
  const own = await measureCaller();
  const names = [
    "caseflow_relay_dead_letters_total",
    "event_delivery_seconds_count",
    "v8js_gc_duration_seconds_sum",
  ];
  await waitUntil(async () => {
    const seen = await Promise.all([pair.cases, pair.audit].map(({ metricsUrl }) => scrape(metricsUrl)));
    samples = [...seen.flatMap((one) => one.samples), ...own];
    return names.every((wanted) => samples.some(({ name }) => name === wanted));
  });
}, 120_000);
afterAll(async () => {
  await pair[Symbol.asyncDispose]();
  await shutdownMetrics();
});

/** What a caller tells of a breaker that opens, of retries, and of what it does not send. */
async function measureCaller(): Promise<readonly Sample[]> {
  const unavailable = new ConnectError("scripted", Code.Unavailable);
  await using server = await startScriptedService("answer", ...Array.from({ length: 3 }, () => unavailable));
  const limits = {
    retry: { attemptsMax: 2, baseMs: 0, capMs: 0 },
    breaker: { countMin: 3, failureShare: 0.5 },
  };
  await using cases = createCaseClient({ url: server.url, token: "t", limits });
  await cases.getCase({});
  for (let made = 0; made < 3; made++) await cases.getCase({}).catch(() => {});
  return readScrape((await renderMetrics()) ?? "").samples;
}

/** What a selector asks for and nothing exports. */
function lackingOf({ name, matchers }: Selector): string[] {
  if (name === "up") return [];
  const recorded = rules.recordings.find(({ record }) => record === name);
  const labels = recorded ? readExpression(recorded.expr).grouping : labelsOf(name);
  if (!recorded && labels === undefined) return [name];
  return matchers.flatMap((matcher) =>
    ofPrometheus.includes(matcher.label)
      ? []
      : (labels ?? []).includes(matcher.label)
        ? lackingValues(name, matcher).map((value) => `${name}{${matcher.label}${matcher.op}"${value}"}`)
        : [`${name}{${matcher.label}}`],
  );
}

function labelsOf(name: string): readonly string[] | undefined {
  const own = samples.filter((sample) => sample.name === name);
  return own.length === 0 ? undefined : own.flatMap(({ labels }) => Object.keys(labels));
}

/** Of the alternatives that a label is compared with, those that it can never be. */
function lackingValues(name: string, { label, op, value }: Matcher): string[] {
  if (value === "" || value.includes("$")) return []; // None; a variable of the dashboard.
  const seen = samples.flatMap((sample) => (sample.name === name ? [sample.labels[label] ?? ""] : []));
  const ofCalls = name.startsWith("rpc_server_") || name.includes(":");
  const values = [...seen, ...((ofCalls && possible[label]) || [])];
  if (!op.endsWith("~")) return values.includes(value) ? [] : [value];
  const [, before = "", alternatives = value] = /^(.*)\((.*)\)$/.exec(value) ?? [];
  return alternatives
    .split("|")
    .filter((alternative) => !values.some((one) => new RegExp(`^(?:${before}${alternative})$`).test(one)));
}

function lackingOfExpression({ selectors, grouping }: Expression): string[] {
  const labels = selectors.flatMap(({ name }) => labelsOf(name) ?? recordedLabels(name));
  return [
    ...selectors.flatMap(lackingOf),
    ...grouping
      .filter((label) => ![...ofPrometheus, ...labels].includes(label))
      .map((label) => `by (${label})`),
  ];
}

function recordedLabels(name: string): readonly string[] {
  const recorded = rules.recordings.find(({ record }) => record === name);
  return recorded ? readExpression(recorded.expr).grouping : [];
}

test("every metric, label and value that a rule asks for is exported", () => {
  const asked = [...rules.recordings, ...rules.alerts].map(({ expr }) => readExpression(expr));
  expect(asked.flatMap(lackingOfExpression)).toEqual([]);
  expect(asked.flatMap(({ selectors }) => selectors).length).toBeGreaterThan(40);
});

test("every series that a rule's unit test makes up is one that is exported", async () => {
  const made = (await readRuleTests()).flatMap(({ input_series: inputs }) =>
    inputs.map(({ series }) => readExpression(series)),
  );
  expect(made.flatMap(lackingOfExpression)).toEqual([]);
  expect(made.length).toBeGreaterThan(50);
});

test("every metric, label and value that a panel asks for is exported", async () => {
  for (const [file, dashboard] of await readDashboards()) {
    const asked = graphsOf(dashboard).flatMap(({ targets }) =>
      targets.map(({ expr }) => readExpression(expr)),
    );
    expect(asked.flatMap(lackingOfExpression), file).toEqual([]);
    const variables = dashboard.templating.list.flatMap(({ query }) => {
      const [, name] = /^label_values\((\w+), job\)$/.exec(query) ?? [];
      return name === undefined ? [] : [name];
    });
    expect(
      variables.filter((name) => labelsOf(name) === undefined),
      file,
    ).toEqual([]);
  }
});

test("legends name labels that their metrics have", async () => {
  for (const [file, dashboard] of await readDashboards()) {
    const strange = graphsOf(dashboard).flatMap(({ title, targets }) =>
      targets.flatMap(({ expr, legendFormat }) => {
        const { selectors, grouping } = readExpression(expr);
        const known = [
          ...ofPrometheus,
          ...grouping,
          ...selectors.flatMap(({ name }) => recordedLabels(name)),
        ];
        return [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)]
          .filter(([, label = ""]) => !known.includes(label))
          .map(([said]) => `${title}: ${said}`);
      }),
    );
    expect(strange, file).toEqual([]);
  }
});

test("the objectives count the calls that have one answer, of every service of ours, and no others", () => {
  const wanted = methods.filter(
    ({ path, methodKind }) => methodKind === "unary" && path.startsWith("caseflow."),
  );
  const counting = rules.recordings.flatMap(({ expr }) =>
    readExpression(expr).selectors.filter(({ name }) => name.startsWith("rpc_server_")),
  );
  for (const { matchers } of counting) {
    const counted = methods.filter(({ path }) => matchers.every((matcher) => fits(matcher, path)));
    expect(counted).toEqual(wanted);
  }
  expect(counting.length).toBe(21);
});

function fits({ label, op, value }: Matcher, path: string): boolean {
  return label !== "method" || new RegExp(`^(?:${value})$`).test(path) === (op === "=~");
}
