import { Code, ConnectError } from "@connectrpc/connect";
import { metrics } from "@opentelemetry/api";
import { NodeSDK } from "@opentelemetry/sdk-node";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";

import { watchCounters } from "#test/support/count-metrics.ts";
import { type Act, startScriptedService } from "#test/support/scripted-service.ts";

import { createCaseClient } from "./case-client.ts";
import type { ClientOptions } from "./client-options.ts";

/** `name attributes`, as they were added up. */
const counts = new Map<string, number>();
const spanEvents: string[] = [];
let spansEnded = 0;

const sdk = new NodeSDK({
  metricReaders: [],
  logRecordProcessors: [],
  instrumentations: [],
  spanProcessors: [
    {
      onStart() {},
      onEnd({ events }) {
        spansEnded++;
        for (const { name, attributes } of events) {
          spanEvents.push([name, ...Object.values(attributes ?? {})].join(" "));
        }
      },
      forceFlush: async () => {},
      shutdown: async () => {},
    },
  ],
});

beforeAll(() => {
  sdk.start();
  watchCounters((name, value, { target, ...rest }) => {
    const key = [name.replace("caseflow.client.", target === "case" ? "" : "?"), ...Object.values(rest)].join(
      " ",
    );
    counts.set(key, (counts.get(key) ?? 0) + value);
  });
});
beforeEach(() => {
  counts.clear();
  spanEvents.length = 0;
  spansEnded = 0;
});
afterAll(async () => {
  metrics.disable();
  await sdk.shutdown();
});

const unavailable = new ConnectError("scripted", Code.Unavailable);
const retry = { baseMs: 0, capMs: 0 };

/** One call, or several, of a client of its own; then what was told. */
async function tell(
  acts: readonly Act[],
  limits: NonNullable<ClientOptions["limits"]>,
  calls = 1,
  timeoutMs = 5_000,
) {
  await using server = await startScriptedService(...acts);
  await using cases = createCaseClient({ url: server.url, token: "t", limits });
  for (let made = 0; made < calls; made++) await cases.getCase({}, { timeoutMs }).catch(() => {});
  return { points: Array.from(counts, (point) => point.join(" ")).toSorted(), events: spanEvents };
}

test("attempts and retries are counted, and stand on the span of their one call", async () => {
  const { points, events } = await tell([unavailable, unavailable, "answer"], { retry });
  expect(points).toEqual([
    "attempts GetCase Unavailable 2",
    "attempts GetCase ok 1",
    "retries GetCase Unavailable 2",
  ]);
  expect(events).toEqual([
    "attempt Unavailable",
    "retry 2 0 Unavailable",
    "attempt Unavailable",
    "retry 3 0 Unavailable",
    "attempt ok",
  ]);
  expect(spansEnded).toBe(1);
});

test("a retry that the budget does not pay is told", async () => {
  const { points, events } = await tell([unavailable], { retry, retryBudget: { share: 0, burst: 0 } });
  expect(points).toContain("refusals GetCase retry_budget 1");
  expect(events).toEqual(["attempt Unavailable", "refused retry_budget"]);
});

test("a breaker that opens, and what it refuses, are told", async () => {
  const { points, events } = await tell([unavailable], { retry: "off", breaker: { countMin: 2 } }, 3);
  expect(points).toContain("breaker.changes GetCase open 1");
  expect(points).toContain("refusals GetCase breaker 1");
  expect(events).toEqual(["attempt Unavailable", "breaker open", "attempt Unavailable", "refused breaker"]);
});

test("a call that comes too late is told", async () => {
  const { points } = await tell(["answer"], {}, 1, 0);
  expect(points).toEqual(["refusals GetCase deadline 1"]);
  counts.clear();
  const { points: inside } = await tell(["answer"], {}, 1, 5);
  expect(inside).toEqual(["refusals GetCase deadline 1"]);
});

test("a full bulkhead is told", async () => {
  const { points, events } = await tell(["answer"], { bulkhead: { inFlightMax: 0, queueMax: 0 } });
  expect(points).toEqual(["refusals GetCase bulkhead 1"]);
  expect(events).toEqual(["refused bulkhead"]);
});

test("a connection replaced for its age is told", async () => {
  const { points } = await tell(["answer"], { connection: { ageMs: 0 } }, 2);
  expect(points.filter((point) => point.startsWith("connection.renewals"))).toHaveLength(1);
});
