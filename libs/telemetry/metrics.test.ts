import { metrics } from "@opentelemetry/api";
import { afterEach, expect, test } from "vitest";
import { readScrape } from "#test/support/scrape.ts";
import { renderMetrics, shutdownMetrics, startMetrics } from "./metrics.ts";

const service = { name: "measured", version: "1.2.3", commit: "abc" };
const rendered = async () => readScrape((await renderMetrics()) ?? "");
const meter = () => metrics.getMeter("test");

afterEach(shutdownMetrics);

test("nothing is rendered where nothing was started, and which build runs where something was", async () => {
  expect(await renderMetrics()).toBeUndefined();
  await startMetrics({}, service);
  expect((await rendered()).sum("build_info", { version: "1.2.3", commit: "abc" })).toBe(1);
  await shutdownMetrics();
  expect(await renderMetrics()).toBeUndefined();
});

test("durations end in their unit and counters in total, once", async () => {
  await startMetrics({}, service);
  meter().createHistogram("some.duration", { unit: "s" }).record(2);
  meter().createCounter("some.calls").add(3);
  const { types } = await rendered();
  expect(types.get("some_duration_seconds")).toBe("histogram");
  expect(types.get("some_calls_total")).toBe("counter");
});

test("a gauge that is not told any more is gone, with what it said last", async () => {
  await startMetrics({}, service);
  let value: number | undefined = 7;
  const gauge = meter().createObservableGauge("some.gauge");
  gauge.addCallback((result) => void (value !== undefined && result.observe(value)));
  expect((await rendered()).sum("some_gauge")).toBe(7);
  value = undefined;
  expect((await rendered()).sum("some_gauge")).toBeUndefined();
  value = 8;
  expect((await rendered()).sum("some_gauge")).toBe(8);
});

test("a gauge that is never told, or throws, leaves the others to be told", async () => {
  await startMetrics({}, service);
  const names = ["silent", "broken", "good"];
  const [silent, broken, good] = names.map((name) => meter().createObservableGauge(name));
  silent?.addCallback(() => new Promise(() => {}));
  broken?.addCallback(() => {
    throw new Error("broken on purpose");
  });
  good?.addCallback((result) => result.observe(1));
  const { sum } = await rendered();
  expect(names.map((name) => sum(name))).toEqual([undefined, undefined, 1]);
});

test("a label of too many values stops growing, and nothing is lost from the sum", async () => {
  await startMetrics({}, service);
  const counter = meter().createCounter("some.calls");
  for (let id = 0; id < 5_000; id++) counter.add(1, { id });
  const { samples, sum } = await rendered();
  expect(samples.filter(({ name }) => name === "some_calls_total").length).toBeLessThanOrEqual(2_000);
  expect(sum("some_calls_total")).toBe(5_000);
});
