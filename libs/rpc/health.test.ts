import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";

import {
  HealthCheckResponse_ServingStatus as Status,
  type HealthCheckResponse,
} from "#libs/gen/grpc/health/v1/health_pb.ts";

import { createHealth, type Health } from "./health.ts";
import { connectForTest, protocols, serveForTest, within } from "./serve-for-test.ts";

const { SERVING, NOT_SERVING, SERVICE_UNKNOWN } = Status;

test.each(protocols)(
  "check and list tell what was set, and nothing serves before that, over %s",
  async (p) => {
    const health = createHealth(["a.A", "b.B"]);
    await using server = await serveForTest(health);
    using client = connectForTest(server.url, p);
    const list = async () => {
      const { statuses } = await client.health.list({});
      return Object.entries(statuses).map(([name, { status }]) => [name, status]);
    };
    expect(await list()).toEqual([
      ["", NOT_SERVING],
      ["a.A", NOT_SERVING],
      ["b.B", NOT_SERVING],
    ]);
    health.set(true);
    expect(await client.health.check({})).toMatchObject({ status: SERVING });
    health.set(false, "b.B");
    expect(await list()).toEqual([
      ["", SERVING],
      ["a.A", SERVING],
      ["b.B", NOT_SERVING],
    ]);
    expect([
      health.isServing(),
      health.isServing("a.A"),
      health.isServing("b.B"),
      health.isServing("c.C"),
    ]).toEqual([true, true, false, false]);
    await expect(client.health.check({ service: "c.C" })).rejects.toMatchObject({ code: Code.NotFound });
  },
);

test("a watcher is told the state, then each change, and nothing twice", async () => {
  const health = createHealth(["a.A"]);
  await using watch = await watchHealth(health, "a.A");
  expect(await watch.next()).toBe(NOT_SERVING);
  health.set(false);
  health.set(true);
  expect(await watch.next()).toBe(SERVING);
  health.set(true);
  health.set(false, "a.A");
  expect(await watch.next()).toBe(NOT_SERVING);
});

test("after the end nothing serves, whatever is set", async () => {
  const health = createHealth(["a.A"]);
  health.set(true);
  await using watch = await watchHealth(health, "a.A");
  expect(await watch.next()).toBe(SERVING);
  health.end();
  health.set(true);
  health.set(true, "a.A");
  expect(await watch.next()).toBe(NOT_SERVING);
  expect([health.isServing(), health.isServing("a.A")]).toEqual([false, false]);
});

test("a watcher of an unknown service is told so, and told when it becomes known", async () => {
  const health = createHealth([]);
  await using watch = await watchHealth(health, "late.L");
  expect(await watch.next()).toBe(SERVICE_UNKNOWN);
  health.set(true);
  health.set(true, "late.L");
  expect(await watch.next()).toBe(SERVING);
});

test("a watcher is sent away as soon as the server stops", async () => {
  const health = createHealth([]);
  await using watch = await watchHealth(health, "");
  await watch.next();
  health.set(false);
  const stopped = watch.server.stop({ drainMs: 20_000 });
  await expect(watch.next()).rejects.toMatchObject({ code: Code.Unavailable });
  await within(stopped, "the stop");
});

test("watchers are limited, and one that leaves makes room", async () => {
  const health = createHealth([]);
  await using server = await serveForTest({ ...health, limits: { callsMax: 1_000 } });
  using client = connectForTest(server.url);
  const open = async () => {
    const leave = new AbortController();
    const stream = client.health.watch({}, { signal: leave.signal })[Symbol.asyncIterator]();
    await within(stream.next(), "the state");
    return { leave };
  };
  const watchers = await Promise.all(Array.from({ length: 256 }, open));
  await expect(open()).rejects.toMatchObject({ code: Code.ResourceExhausted });
  watchers[0]?.leave.abort();
  await server.line(2);
  await open();
  for (const { leave } of watchers) leave.abort();
});

async function watchHealth(health: Health, service: string) {
  const server = await serveForTest(health);
  const client = connectForTest(server.url);
  const stream = client.health.watch({ service })[Symbol.asyncIterator]();
  return {
    server,
    async next(): Promise<HealthCheckResponse["status"]> {
      const step = await within(stream.next(), "the next state");
      return step.done ? Status.UNKNOWN : step.value.status;
    },
    async [Symbol.asyncDispose]() {
      client[Symbol.dispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}
