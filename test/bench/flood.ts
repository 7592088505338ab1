import { createCaseClient, type CaseClient } from "#libs/client/case-client.ts";
import { bareLimits } from "../support/bare-limits.ts";
import { openBenchStack } from "./bench-stack.ts";
import { quantileOf } from "./open-loop.ts";
import { reportBars } from "./report.ts";
import { startSlowService } from "./slow-service.ts";

/** Two hundred reads a second is all that the service can answer. */
const service = { linkMs: 20, poolMax: 4 };
/** Calls of the flood that are always under way, and of the quiet tenant one after the other in each part of a round. */
const flood = { connections: 2, callsEach: 40 };
const quietCalls = 40;
const rounds = 5;
const limits = { ...bareLimits, defaultTimeoutMs: 30_000 };

/**
 * `npm run bench -- flood`: one tenant makes one call after the other, alone and then beside another's flood, in turn; the
 * database is what is short. First come, first served, each of its calls would take as long as one of the flood's.
 */
export async function benchFlood(): Promise<boolean> {
  await using opened = new AsyncDisposableStack();
  const { stack } = opened.use(await openBenchStack());
  const { url } = opened.use(await startSlowService(stack, service));
  const open = (token = ""): CaseClient => opened.use(createCaseClient({ url, token, limits }));
  const flooding = Array.from({ length: flood.connections }, () => open(stack.tokens.caseworker));
  const quiet = open(stack.tokens.otherTenant);
  const ratios: number[] = [];
  const gaps: number[] = [];
  for (let round = 1; round <= rounds; round++) {
    const alone = quantileOf(await callInTurn(quiet), 0.95);
    const stopping = new AbortController();
    const flooded = Promise.all(flooding.map((client) => keepCalling(client, stopping.signal)));
    const beside = quantileOf(await callInTurn(quiet), 0.95);
    stopping.abort();
    const own = quantileOf(
      (await flooded).flat().toSorted((a, b) => a - b),
      0.95,
    );
    ratios.push(alone / beside);
    gaps.push(own / beside);
    console.log(
      `round ${round}: p95 alone ${alone.toFixed(1)} ms, beside the flood ${beside.toFixed(1)} ms, of the flood's own calls ${own.toFixed(0)} ms`,
    );
  }
  return reportBars([
    { name: "flood quiet tenant's p95, alone / beside a flood", value: medianOf(ratios), atLeast: 0.1 },
    { name: "flood p95, the flood's / the quiet tenant's", value: medianOf(gaps), atLeast: 5 },
  ]);
}

/** One call after the other; what each took, sorted. */
async function callInTurn(client: CaseClient): Promise<number[]> {
  const tookMs: number[] = [];
  for (let index = 0; index < quietCalls; index++) tookMs.push(await timeCall(client));
  return tookMs.toSorted((a, b) => a - b);
}

/** Many calls at a time until it is aborted; what each took. */
async function keepCalling(client: CaseClient, stop: AbortSignal): Promise<number[]> {
  const tookMs: number[] = [];
  const one = async (): Promise<void> => {
    while (!stop.aborted) tookMs.push(await timeCall(client));
  };
  await Promise.all(Array.from({ length: flood.callsEach }, one));
  return tookMs;
}

/** An empty page: the same work for either tenant. */
async function timeCall(client: CaseClient): Promise<number> {
  const startedAt = performance.now();
  await client.listCases({ pageSize: 1 });
  return performance.now() - startedAt;
}

function medianOf(values: readonly number[]): number {
  const middle = values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
  return Math.round(middle * 100) / 100;
}
