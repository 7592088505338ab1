import { Code, createClient, createContextValues, createHandlerContext } from "@connectrpc/connect";
import { expect, test } from "vitest";

import { Health } from "#libs/gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "#libs/gen/grpc/reflection/v1/reflection_pb.ts";

import { remainingMs } from "./deadline.ts";
import { startedAtKey } from "./request-context.ts";
import { connectForTest, serveForTest } from "./serve-for-test.ts";

const { check, watch } = Health.method;

test("what is left is the caller's deadline, and never more than the ceiling", () => {
  expect(remainingMs(contextOf(check, 2_000), 10_000)).toBeLessThanOrEqual(2_000);
  expect(remainingMs(contextOf(check, 2_000), 10_000)).toBeGreaterThan(1_000);
  expect(remainingMs(contextOf(check, 60_000), 10_000)).toBeLessThanOrEqual(10_000);
});

test("without a deadline a unary call has the ceiling in all, a stream has it at each step", () => {
  expect(remainingMs(contextOf(check, undefined, 4_000), 10_000)).toBeLessThanOrEqual(6_000);
  expect(remainingMs(contextOf(watch, undefined, 4_000), 10_000)).toBe(10_000);
  expect(remainingMs(contextOf(watch, 2_000, 4_000), 10_000)).toBeLessThanOrEqual(2_000);
});

test.each([
  ["the deadline has passed", contextOf(check, 0)],
  ["the ceiling has passed", contextOf(check, undefined, 11_000)],
  ["less than a millisecond is left", contextOf(watch, undefined), 0.5],
])("nothing is started when %s", (_, context, ceilingMs = 10_000) => {
  expect(() => remainingMs(context, ceilingMs)).toThrow(
    expect.objectContaining({ code: Code.DeadlineExceeded }),
  );
});

test("a call whose time is up when it arrives does not reach its handler", async () => {
  const reached: unknown[] = [];
  await using server = await serveForTest({
    routes(router) {
      router.service(Health, { check: (request) => (reached.push(request), {}) });
      router.service(ServerReflection, {
        // A stream's handler begins before anything is read.
        async *serverReflectionInfo() {
          reached.push("stream");
          yield {};
        },
      });
    },
  });
  for (const headers of [{ "connect-timeout-ms": "0" }, { "grpc-timeout": "0m" }]) {
    const type = "grpc-timeout" in headers ? "application/grpc-web+json" : "application/json";
    const body = "grpc-timeout" in headers ? "\0\0\0\0\u0002{}" : "{}";
    await fetch(`${server.url}/grpc.health.v1.Health/Check`, {
      method: "POST",
      headers: { ...headers, "content-type": type },
      body,
    });
  }
  using client = connectForTest(server.url);
  const { serverReflectionInfo } = createClient(ServerReflection, client.transport);
  const answers = serverReflectionInfo(noMessages(), { headers: { "grpc-timeout": "0m" } });
  await expect(answers[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: Code.DeadlineExceeded });
  await server.line(3);
  expect(server.lines.map(({ code }) => code)).toEqual(Array.from({ length: 3 }, () => "deadline_exceeded"));
  expect(reached).toEqual([]);
});

async function* noMessages(): AsyncIterable<Record<string, never>> {}

test("a deadline too far away for any timer is none, instead of being there at once", async () => {
  const left: (number | undefined)[] = [];
  await using server = await serveForTest({
    routes: (router) => router.service(Health, { check: (_, { timeoutMs }) => (left.push(timeoutMs()), {}) }),
  });
  using client = connectForTest(server.url);
  using connect = connectForTest(server.url, "connect h1");
  for (const timeout of ["99999999H", "2147484S", "2147483S"]) {
    await client.health.check({}, { headers: { "grpc-timeout": timeout } });
  }
  for (const timeout of ["9999999999", "2147483648", "2147483647"]) {
    await connect.health.check({}, { headers: { "connect-timeout-ms": timeout } });
  }
  expect(left.map((ms) => ms !== undefined)).toEqual([false, false, true, false, false, true]);
});

function contextOf(method: typeof check | typeof watch, timeoutMs: number | undefined, agoMs?: number) {
  const values = createContextValues();
  if (agoMs !== undefined) values.set(startedAtKey, performance.now() - agoMs);
  return createHandlerContext({
    service: Health,
    method,
    protocolName: "grpc",
    requestMethod: "POST",
    url: "http://test/",
    contextValues: values,
    ...(timeoutMs !== undefined && { timeoutMs }),
  });
}
