import { Code, ConnectError } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test } from "vitest";
import { renderMetrics, shutdownMetrics, startMetrics } from "#libs/telemetry/metrics.ts";
import { readScrape } from "#test/support/scrape.ts";
import { startScriptedService } from "#test/support/scripted-service.ts";
import { createCaseClient } from "./case-client.ts";

beforeAll(() => startMetrics({}, { name: "client-test", version: "0", commit: "none" }));
afterAll(shutdownMetrics);

const unavailable = new ConnectError("scripted", Code.Unavailable);
const rendered = async () => readScrape((await renderMetrics()) ?? "");
const ofGetCase = { dependency: "case", method: "GetCase" };

test("a breaker that opens, what it refuses, retries that are left and how long attempts took are told", async () => {
  await using server = await startScriptedService("answer", unavailable, unavailable, unavailable);
  const limits = {
    retry: { attemptsMax: 2, baseMs: 0, capMs: 0 },
    breaker: { countMin: 3, failureShare: 0.5 },
  };
  {
    await using cases = createCaseClient({ url: server.url, token: "t", limits });
    await cases.getCase({});
    expect((await rendered()).sum("circuit_breaker_state", ofGetCase)).toBe(0);
    for (let made = 0; made < 2; made++) await cases.getCase({}).catch(() => {});
    await cases.getCase({}).catch(() => {});

    const { sum } = await rendered();
    expect(sum("circuit_breaker_state", ofGetCase)).toBe(2);
    expect(sum("caseflow_client_refusals_total", { by: "breaker" })).toBeGreaterThan(0);
    const count = (outcome: string) =>
      sum("dependency_request_duration_seconds_count", { dependency: "case", outcome });
    expect([count("ok"), count("unavailable")]).toEqual([1, 2]);
    expect(sum("retry_budget_left", { dependency: "case" })).toBeLessThan(10);
  }
  const closed = await rendered();
  expect([closed.sum("circuit_breaker_state"), closed.sum("retry_budget_left")]).toEqual([
    undefined,
    undefined,
  ]);
});
