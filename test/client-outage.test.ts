import { randomUUID } from "node:crypto";

import { Code, ConnectError } from "@connectrpc/connect";
import { metrics } from "@opentelemetry/api";
import { afterAll, beforeAll, expect, test } from "vitest";

import { createCaseClient } from "#libs/client/case-client.ts";
import { defaultLimits } from "#libs/client/client-options.ts";

import { content, openCase, startCaseService } from "./support/case-service.ts";
import { watchCounters } from "./support/count-metrics.ts";
import { createManualClock } from "./support/manual-clock.ts";
import { type OutageProxy, startOutageProxy } from "./support/outage-proxy.ts";
import { openSuperuser } from "./support/superuser.ts";

const codeOf = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "ok",
    (error: unknown) => Code[ConnectError.from(error).code],
  );

let attempts = 0;

beforeAll(() => {
  watchCounters((name, value) => {
    if (name === "caseflow.client.attempts") attempts += value;
  });
});
afterAll(() => metrics.disable());

const weathers = [
  "fair",
  "refuse",
  "fair",
  "hang",
  "reset",
  "slow",
  "errors",
  "goaway",
  "codes",
  "restart",
] as const;
const callsEach = 1_000;
const atATime = 50;
const timeoutMsOf = (weather: string) => (weather === "hang" ? 250 : 5_000);

test(
  "10,000 calls through an outage of every kind: all settle, with right codes, in their time and the retry budget, and no write happens twice",
  { timeout: 120_000 },
  async () => {
    await using cases = await startCaseService({ config: { relay: "off" } });
    await using proxy = await startOutageProxy(cases.url, "/GetCase");
    // The breaker has a test of its own: here it would keep the calls from the outage.
    await using client = createCaseClient({
      url: proxy.url,
      token: await cases.token("caseworker"),
      limits: { breaker: "off" },
    });
    const known = await openCase(cases);
    const outcomes = new Map<string, string>();
    const seen = new Map<string, Record<string, number>>();

    async function call(index: number, timeoutMs: number): Promise<string> {
      const id = randomUUID();
      const begunAt = performance.now();
      const times = { "x-begun-at": String(begunAt), "x-ends-at": String(begunAt + timeoutMs) };
      const options = { timeoutMs, headers: { "x-call": id, ...times } };
      const isWrite = index % 10 === 0;
      const outcome = await codeOf(
        isWrite
          ? client.createCase({ caseType: "permit", content, externalReference: id }, options)
          : client.getCase({ caseId: known }, options),
      );
      if (isWrite) outcomes.set(id, outcome);
      return outcome;
    }

    for (const weather of weathers) {
      await proxy.turn(weather === "restart" ? "fair" : weather);
      const before = attempts;
      const codes: Record<string, number> = {};
      let made = 0;
      const worker = async () => {
        while (made < callsEach) {
          const index = made++;
          if (weather === "restart" && index % 300 === 200) await proxy.restart();
          const code = await call(index, timeoutMsOf(weather));
          codes[code] = (codes[code] ?? 0) + 1;
        }
      };
      await Promise.all(Array.from({ length: atATime }, worker));
      seen.set(`${seen.size} ${weather}`, codes);
      const { share, burst } = defaultLimits.retryBudget;
      expect(attempts - before, weather).toBeLessThanOrEqual(callsEach * (1 + share) + burst);
      expect(Object.values(codes).reduce((sum, count) => sum + count)).toBe(callsEach);
    }

    const codes = new Set([...seen.values()].flatMap((counts) => Object.keys(counts)));
    expect(codes.difference(new Set(["ok", "Unavailable", "DeadlineExceeded", "Aborted"]))).toEqual(
      new Set(),
    );
    expect(Object.fromEntries(seen)).toMatchObject({
      "0 fair": { ok: callsEach },
      "1 refuse": { Unavailable: callsEach },
      "2 fair": { ok: callsEach },
      "3 hang": { DeadlineExceeded: callsEach },
      "5 slow": { ok: callsEach },
    });
    expect(attempts).toBeLessThan(1.2 * callsEach * weathers.length);
    expectTimesWithinBudgets(proxy);
    await expectNoWriteTwice(cases.database.superuserUrl, outcomes);
  },
);

/** What an attempt told the service is less than what its call had left when the attempt before it had already come. */
function expectTimesWithinBudgets({ requests }: OutageProxy): void {
  const latestAt = new Map<string, number>();
  let retries = 0;
  for (const { headers, at } of requests) {
    const call = String(headers["x-call"]);
    const [, ms] = /^(\d+)m$/.exec(String(headers["grpc-timeout"])) ?? [];
    const before = latestAt.get(call);
    const leftMs = Number(headers["x-ends-at"]) - (before ?? Number(headers["x-begun-at"]));
    expect(Number(ms)).toBeLessThan(leftMs);
    if (before !== undefined) retries++;
    latestAt.set(call, at);
  }
  expect(retries).toBeGreaterThan(100);
}

async function expectNoWriteTwice(url: string, outcomes: ReadonlyMap<string, string>): Promise<void> {
  await using session = await openSuperuser(url);
  const { rows } = await session.query<{ external_reference: string; count: string }>(
    "SELECT external_reference, count(*) FROM cases WHERE external_reference <> '' GROUP BY 1",
  );
  const counts = new Map(rows.map((row) => [row.external_reference, Number(row.count)]));
  expect([...counts.values()].filter((count) => count !== 1)).toEqual([]);
  const lost = [...outcomes].filter(([id, outcome]) => outcome === "ok" && !counts.has(id));
  expect(lost).toEqual([]);
  const unsure = [...outcomes].filter(([id, outcome]) => outcome !== "ok" && counts.has(id));
  expect(unsure.length).toBeGreaterThan(0); // Else no failed call had an effect, and nothing was shown.
}

test("in an outage the breaker opens after its count, lets nothing through for its time, then its probes, and closes when they succeed", async () => {
  await using cases = await startCaseService({ config: { relay: "off" } });
  await using proxy = await startOutageProxy(cases.url, "/GetCase");
  const clock = createManualClock();
  const { countMin, openMs, probes } = defaultLimits.breaker;
  const token = await cases.token("caseworker");
  await using client = createCaseClient({ url: proxy.url, token, limits: { retry: "off" }, clock });
  const caseId = await openCase(cases);
  const read = (): Promise<string> => codeOf(client.getCase({ caseId }));
  const arrived = () => proxy.requests.length;

  await proxy.turn("reset");
  for (let made = 0; made < countMin; made++) expect(await read()).toBe("Unavailable");
  expect(arrived()).toBe(countMin);
  for (let made = 0; made < 50; made++) expect(await read()).toBe("Unavailable");
  expect(arrived()).toBe(countMin);
  await proxy.turn("fair");
  expect(await codeOf(client.listCases({ pageSize: 1 }))).toBe("ok"); // The circuit of another method.
  await clock.advance(openMs - 1);
  expect(await read()).toBe("Unavailable");
  await clock.advance(1);
  const codes = await Promise.all(Array.from({ length: 20 }, read));
  expect(codes.filter((code) => code === "ok")).toHaveLength(probes);
  expect(arrived()).toBe(countMin + 1 + probes);
  expect(await Promise.all(Array.from({ length: 20 }, read))).toEqual(Array.from({ length: 20 }, () => "ok"));
});
