import { randomUUID } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { createCaseClient } from "#libs/client/case-client.ts";
import type { ClientOptions } from "#libs/client/client-options.ts";
import type { Stack } from "#libs/client/stack.ts";
import { watchCounters } from "../support/count-metrics.ts";
import { openBenchStack } from "./bench-stack.ts";
import { plotOverTime, type Line } from "./plot-over-time.ts";
import { reportBars } from "./report.ts";
import { startSlowService } from "./slow-service.ts";

/**
 * The database is 20 ms away and there are four connections to it: the service can answer 200 reads a second, and
 * what limits it is not this machine.
 */
const service = { linkMs: 20, poolMax: 4 };
/** Calls a second: well below what the service can do, three times that, and as at first again. */
const phases = [
  { perSecond: 120, seconds: 6 },
  { perSecond: 600, seconds: 6 },
  { perSecond: 120, seconds: 18 },
] as const;
/** Seconds at the end of a run in which it has to have recovered. */
const lastSeconds = 8;
/** Calls of a caller that does not give up easily: five attempts, each of them with a fifth of the time. */
const limits = {
  defaultTimeoutMs: 2_000,
  attemptTimeoutMs: 300,
  retry: { attemptsMax: 5, baseMs: 20, capMs: 100 },
  breaker: "off",
  bulkhead: { inFlightMax: 10_000, queueMax: 0 },
} as const satisfies ClientOptions["limits"];
const plotFile = "bench/overload.svg";

interface Run {
  /** Calls that were to be made in each second, and how many of those were answered. */
  readonly offered: readonly number[];
  readonly answered: readonly number[];
  /** In each second. */
  readonly attempts: readonly number[];
}

/**
 * `npm run bench -- overload`: the same load twice, once with the retry budget and once without. Without, the retries keep
 * the service as busy with calls that nobody waits for any more as the load did; with it, goodput is back with the load.
 */
export async function benchOverload(): Promise<boolean> {
  const tally = tallyAttempts();
  await using bench = await openBenchStack();
  const on = { stack: bench.stack, tally };
  const budgeted = await measure("with the retry budget", on, limits);
  const unbounded = await measure("without", on, { ...limits, retryBudget: "off" });
  const line = (name: string, values: readonly number[], dashed = false): Line => ({ name, values, dashed });
  await mkdir("bench", { recursive: true });
  await writeFile(
    plotFile,
    plotOverTime("Reads a second, in and after an overload", [
      line("calls made", budgeted.offered, true),
      line("answered, with the retry budget", budgeted.answered),
      line("answered, without", unbounded.answered),
      line("attempts, with the retry budget", budgeted.attempts),
      line("attempts, without", unbounded.attempts),
    ]),
  );
  console.log(`plot: ${plotFile}`);
  const recovered = goodputAtEnd(budgeted);
  return reportBars([
    { name: "overload goodput afterwards, with retry budget", value: recovered, atLeast: 0.95 },
    {
      name: "overload goodput afterwards, with retry budget / without",
      value: rounded(recovered / Math.max(goodputAtEnd(unbounded), 0.01)),
      atLeast: 2,
    },
    {
      name: "overload 1.2 / attempts a call, with retry budget",
      value: rounded((1.2 * sum(budgeted.offered)) / sum(budgeted.attempts)),
      atLeast: 1,
    },
  ]);
}

/** One run, on a service of its own. */
async function measure(
  name: string,
  { stack, tally }: { readonly stack: Stack; readonly tally: AttemptTally },
  clientLimits: ClientOptions["limits"] & object,
): Promise<Run> {
  await using opened = new AsyncDisposableStack();
  const { url } = opened.use(await startSlowService(stack, service));
  const token = stack.tokens.caseworker ?? "";
  const client = opened.use(createCaseClient({ url, token, limits: clientLimits }));
  const { case: draft } = await client.createCase({
    requestId: randomUUID(),
    caseType: "permit",
    content: { title: "A case that is read often" },
  });
  const caseId = draft?.caseId ?? "";
  const attempts: number[] = [];
  const startAt = performance.now();
  const secondOf = (at: number): number => Math.floor((at - startAt) / 1_000);
  tally.onAttempt = () => add(attempts, secondOf(performance.now()));
  const offered: number[] = [];
  const answered: number[] = [];
  const calls: Promise<void>[] = [];
  let dueAt = startAt;
  for (const { perSecond, seconds } of phases) {
    for (let index = 0; index < perSecond * seconds; index++) {
      dueAt += 1_000 / perSecond;
      const second = secondOf(dueAt);
      const earlyMs = dueAt - performance.now();
      if (earlyMs > 1) await pause(earlyMs);
      add(offered, second);
      const call = client.getCase({ caseId });
      calls.push(
        call.then(
          () => add(answered, second),
          () => {},
        ),
      );
    }
  }
  await Promise.all(calls);
  const run = {
    offered: filled(offered, offered),
    answered: filled(answered, offered),
    attempts: filled(attempts, offered),
  };
  console.log(
    `${name.padEnd(22)} answered afterwards ${(100 * goodputAtEnd(run)).toFixed(0)}%, attempts a call ${(sum(run.attempts) / sum(run.offered)).toFixed(2)}`,
  );
  return run;
}

interface AttemptTally {
  onAttempt: () => void;
}

/** Sees each attempt that any client in this process ends, by the counter that clients keep of them. */
function tallyAttempts(): AttemptTally {
  const tally: AttemptTally = { onAttempt: () => {} };
  watchCounters((name) => name === "caseflow.client.attempts" && tally.onAttempt());
  return tally;
}

/** Of the calls of the last seconds, the share that was answered. */
function goodputAtEnd({ offered, answered }: Run): number {
  return rounded(sum(answered.slice(-lastSeconds)) / sum(offered.slice(-lastSeconds)));
}

function add(counts: number[], second: number): void {
  counts[second] = (counts[second] ?? 0) + 1;
}

function filled(counts: readonly number[], like: readonly number[]): readonly number[] {
  return Array.from(like, (_, second) => counts[second] ?? 0);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
