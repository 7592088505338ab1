import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { createCaseClient, type CaseClient } from "#libs/client/case-client.ts";
import type { Stack } from "#libs/client/stack.ts";
import { defaultIssuerNames } from "#libs/local-issuer/local-issuer.ts";
import { bareLimits } from "../support/bare-limits.ts";
import { startServiceProcess, type ServiceProcess } from "../support/service-process.ts";
import { openBenchStack } from "./bench-stack.ts";
import { reportBars } from "./report.ts";

/** An odd number, so that one of them is the median. */
const rounds = 9;
const runMs = 3_000;
const warmUpMs = 5_000;
/** Calls at a time; one of so many writes. */
const callers = 16;
const callsAWrite = 5;
/** Fifteen times as often as the sample configuration has it. */
const scrapeEveryMs = 1_000;

const kinds = ["off", "on", "scraped"] as const;
type Kind = (typeof kinds)[number];

/**
 * `npm run bench -- metrics`: what the case service answers in a second, of one create and four reads in turn, with metrics and without,
 * and with `/metrics` asked for each second. Two processes on one database, by turns; a bar's value is the median of what one round's
 * rate is of the rate without in the same round.
 */
export async function benchMetrics(): Promise<boolean> {
  await using opened = new AsyncDisposableStack();
  const { stack } = opened.use(await openBenchStack());
  const measured = opened.use(await startCase(stack, "on"));
  const unmeasured = opened.use(await startCase(stack, "off"));
  for (const [{ metricsUrl }, status] of [
    [measured, 200],
    [unmeasured, 404],
  ] as const) {
    const answer = await fetch(`${metricsUrl}/metrics`);
    if (answer.status !== status) throw new Error(`/metrics: ${answer.status}, expected ${status}`);
  }
  const clientOf = ({ url }: ServiceProcess) =>
    opened.use(createCaseClient({ url, token: stack.tokens.caseworker ?? "", limits: bareLimits }));
  const [withMetrics, without] = [clientOf(measured), clientOf(unmeasured)];

  for (const client of [withMetrics, without]) await ratePerSecond(client, warmUpMs);
  const run: Readonly<Record<Kind, () => Promise<number>>> = {
    off: () => ratePerSecond(without, runMs),
    on: () => ratePerSecond(withMetrics, runMs),
    async scraped() {
      await using _scraper = scrapeOften(measured.metricsUrl);
      return await ratePerSecond(withMetrics, runMs);
    },
  };
  const rates: Readonly<Record<Kind, number>>[] = [];
  for (let round = 0; round < rounds; round++) {
    const rate = { off: 0, on: 0, scraped: 0 };
    // Each goes first in its turn: whoever comes after another finds caches and disk as that one left them.
    for (let turn = 0; turn < kinds.length; turn++) {
      const kind = kinds[(round + turn) % kinds.length]!; // Below the length.
      rate[kind] = await run[kind]();
    }
    rates.push(rate);
    console.log(kinds.map((kind) => `${kind} ${rate[kind].toFixed(0)}`).join(", "));
  }
  const ratioOf = (kind: Kind): number => medianOf(rates.map((rate) => rate[kind] / rate.off));
  for (const kind of kinds)
    console.log(
      `${kind.padEnd(8)} median ${medianOf(rates.map((rate) => rate[kind])).toFixed(0)} calls a second`,
    );
  return reportBars([
    { name: "metrics throughput, on / off", value: rounded(ratioOf("on")), atLeast: 0.9 },
    {
      name: "metrics throughput, scraped each second / off",
      value: rounded(ratioOf("scraped")),
      atLeast: 0.9,
    },
  ]);
}

function startCase({ postgres, jwks }: Stack, metrics: "on" | "off"): Promise<ServiceProcess> {
  return startServiceProcess("test/bench/case-process.ts", {
    BENCH_METRICS: metrics,
    CASE_PORT: "0",
    CASE_METRICS_PORT: "0",
    CASE_DATABASE_URL: postgres.caseAppUrl,
    CASEFLOW_JWKS: jwks,
    CASEFLOW_JWT_ISSUER: defaultIssuerNames.issuer,
    CASEFLOW_JWT_AUDIENCE: defaultIssuerNames.audience,
    RELAY: "off",
    CASEFLOW_RATE_PRINCIPAL_PER_SECOND: "1000000",
    CASEFLOW_RATE_TENANT_PER_SECOND: "1000000",
    LOG_LEVEL: "warn", // Lines of requests would be read here, on the same two cores.
  });
}

/** Answers a second of callers who each call again once they are answered. A call that fails ends it. */
async function ratePerSecond(client: CaseClient, durationMs: number): Promise<number> {
  const startAt = performance.now();
  let answered = 0;
  const callAgain = async (): Promise<void> => {
    let caseId = "";
    for (let made = 0; performance.now() - startAt < durationMs; made++) {
      if (made % callsAWrite === 0) {
        const content = { title: "A case that is read four times" };
        const created = await client.createCase({ requestId: randomUUID(), caseType: "permit", content });
        caseId = created.case?.caseId ?? "";
      } else await client.getCase({ caseId });
      answered += 1;
    }
  };
  await Promise.all(Array.from({ length: callers }, callAgain));
  return (answered * 1_000) / (performance.now() - startAt);
}

function scrapeOften(metricsUrl: string): AsyncDisposable {
  const stop = new AbortController();
  const scraping = (async () => {
    while (!stop.signal.aborted) {
      await (await fetch(`${metricsUrl}/metrics`)).text();
      await pause(scrapeEveryMs, undefined, { signal: stop.signal }).catch(() => {});
    }
  })();
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await scraping;
    },
  };
}

function medianOf(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function rounded(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}
