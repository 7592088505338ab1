import { randomUUID } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { createClient } from "@connectrpc/connect";
import { createCaseClient } from "#libs/client/case-client.ts";
import { openTransport } from "#libs/client/open-transport.ts";
import { Health } from "#libs/gen/grpc/health/v1/health_pb.ts";
import { bareLimits } from "../support/bare-limits.ts";
import { openBenchStack } from "./bench-stack.ts";
import { quantileOf, runOpenLoop } from "./open-loop.ts";
import { plotLatencies, type Series } from "./plot.ts";
import { reportBars } from "./report.ts";

const load = { perSecond: 200, seconds: 15 };
const warmUp = { perSecond: 200, seconds: 10 };
const plotFile = "bench/budgets.svg";

/**
 * `npm run bench -- budgets`: what 95% of the calls take at 200 calls a second, of each kind in its turn, on a stack of its own.
 * A bar's value is budget / p95: at least 1.
 */
export async function benchBudgets(): Promise<boolean> {
  await using opened = new AsyncDisposableStack();
  const { stack } = opened.use(await openBenchStack());
  const { url } = stack.case;
  const token = stack.tokens.caseworker ?? "";
  const cases = opened.use(createCaseClient({ url, token, limits: bareLimits }));
  const health = createClient(
    Health,
    opened.use(openTransport("case", { url, token, limits: bareLimits })).transport,
  );

  const drafts: string[] = [];
  const content = {
    title: "Extension of a quay",
    summary: "The harbour asks to extend quay 4 by thirty metres.",
    people: [{ name: "Ada Byron", role: "applicant", contact: "ada@example.org" }],
  };
  const kinds: readonly { name: string; budgetMs: number; call: (index: number) => Promise<unknown> }[] = [
    {
      name: "create",
      budgetMs: 200,
      call: async () => {
        const created = await cases.createCase({ requestId: randomUUID(), caseType: "permit", content });
        drafts.push(created.case?.caseId ?? "");
      },
    },
    {
      name: "submit",
      budgetMs: 250,
      call: () => cases.submitCase({ requestId: randomUUID(), caseId: drafts.pop() ?? "" }),
    },
    {
      name: "get",
      budgetMs: 100,
      call: (index) => cases.getCase({ caseId: known[index % known.length] ?? "" }),
    },
    { name: "health", budgetMs: 20, call: () => health.check({}) },
  ];
  let known: readonly string[] = [];
  const series: Series[] = [];
  for (const { name, budgetMs, call } of kinds) {
    if (name === "submit") known = [...drafts];
    const failures = new Map<string, number>();
    const onFailure = (error: unknown): void => {
      const said = String(error);
      failures.set(said, (failures.get(said) ?? 0) + 1);
    };
    await runOpenLoop(warmUp, call, () => {});
    const sortedMs = await runOpenLoop(load, call, onFailure);
    series.push({ name, sortedMs, budgetMs });
    const [p50, p95, p99] = [0.5, 0.95, 0.99].map((quantile) => quantileOf(sortedMs, quantile).toFixed(1));
    console.log(`${name.padEnd(8)} p50 ${p50} ms, p95 ${p95} ms of ${budgetMs}, p99 ${p99} ms`);
    for (const [said, count] of failures) console.log(`  failed ${count} times: ${said}`);
  }
  await mkdir("bench", { recursive: true });
  await writeFile(plotFile, plotLatencies(`${load.perSecond} calls a second`, series));
  console.log(`plot: ${plotFile}`);
  return reportBars(
    series.map(({ name, sortedMs, budgetMs }) => ({
      name: `budget ${name} p95`,
      value: Number((budgetMs / quantileOf(sortedMs, 0.95)).toFixed(2)),
      atLeast: 1,
    })),
  );
}
