import { AsyncLocalStorage } from "node:async_hooks";

import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { expect, test } from "vitest";

import { Health } from "#libs/gen/grpc/health/v1/health_pb.ts";

import { connectForTest, protocols, serveForTest, within } from "./serve-for-test.ts";

test.each(protocols)("a call over %s is one line, whether it answers or streams", async (protocol) => {
  await using server = await serveForTest({
    routes: (router) =>
      router.service(Health, {
        check: () => ({}),
        async *watch() {
          yield {};
          yield {};
        },
      }),
  });
  using client = connectForTest(server.url, protocol);
  await client.health.check({});
  expect(await server.line(1)).toEqual({
    requestId: expect.any(String),
    correlationId: expect.any(String),
    method: "grpc.health.v1.Health/Check",
    tenant: undefined,
    principal: undefined,
    code: "ok",
    reason: undefined,
    durationMs: expect.any(Number),
    streaming: false,
    protocol: protocol.split(" ")[0],
    notes: {},
  });
  for await (const _ of client.health.watch({}));
  expect(await server.line(2)).toMatchObject({
    method: "grpc.health.v1.Health/Watch",
    code: "ok",
    streaming: true,
  });
  expect(server.lines).toHaveLength(2);
});

test.each(protocols)("a stream over %s is logged when it is over and not before", async (protocol) => {
  await using server = await serveForTest({
    routes: (router) =>
      router.service(Health, {
        async *watch(_, { signal }) {
          yield {};
          await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
        },
      }),
  });
  using client = connectForTest(server.url, protocol);
  const leave = new AbortController();
  const stream = client.health.watch({}, { signal: leave.signal })[Symbol.asyncIterator]();
  await stream.next();
  expect(server.lines).toEqual([]);
  leave.abort();
  expect(await server.line(1)).toMatchObject({ code: "canceled", reason: undefined });
  await expect(stream.next()).rejects.toMatchObject({ code: Code.Canceled });
});

test("every code is written as the specification writes it", async () => {
  const codes = Object.values(Code).filter((code) => typeof code === "number");
  const expected = codes.map((code) => (code === Code.Unknown ? Code.Internal : code));
  await using server = await serveForTest({
    routes: (router) =>
      router.service(Health, {
        check({ service }) {
          throw new ConnectError("", Number(service));
        },
      }),
  });
  using client = connectForTest(server.url);
  for (const code of codes) await client.health.check({ service: String(code) }).catch(() => {});
  await server.line(codes.length);
  const written = server.lines.map(({ code }) => code.replaceAll("_", ""));
  expect(written).toEqual(expected.map((code) => Code[code].toLowerCase()));
  expect(server.lines.map(({ code }) => code)).toContain("failed_precondition");
});

test("the line of a call belongs to the trace of that call", async () => {
  const traces = new AsyncLocalStorage<string>();
  const trace: Interceptor = (next) => (request) =>
    traces.run(request.header.get("x-trace") ?? "", () => next(request));
  const seen: (string | undefined)[] = [];
  const both = Promise.withResolvers<void>();
  await using server = await serveForTest({
    trace,
    routes: (router) => router.service(Health, { check: () => ({}), async *watch() {} }),
    onLine: () => {
      if (seen.push(traces.getStore()) === 2) both.resolve();
    },
  });
  using client = connectForTest(server.url);
  await client.health.check({}, { headers: { "x-trace": "a" } });
  for await (const _ of client.health.watch({}, { headers: { "x-trace": "b" } }));
  await within(both.promise, "both lines");
  expect(seen).toEqual(["a", "b"]);
});
