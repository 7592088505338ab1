import { once } from "node:events";

import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import { expect, test } from "vitest";

import { createCaseClient } from "#libs/client/case-client.ts";
import { Health } from "#libs/gen/grpc/health/v1/health_pb.ts";
import { startScriptedService } from "#test/support/scripted-service.ts";

import { onwardCall } from "./onward-call.ts";
import { connectForTest, serveForTest } from "./serve-for-test.ts";

/** A service whose one method asks another one before it answers. */
async function startHop(before: (context: HandlerContext) => Promise<unknown> = async () => {}) {
  await using opened = new AsyncDisposableStack();
  const target = opened.use(await startScriptedService());
  const cases = opened.use(createCaseClient({ url: target.url, token: "t" }));
  const outcome = Promise.withResolvers<unknown>();
  const server = opened.use(
    await serveForTest({
      routes: (router) =>
        router.service(Health, {
          async check(_, context) {
            await before(context);
            const asked = (async () => cases.getCase({}, onwardCall(context)))();
            outcome.resolve(asked.catch((error: unknown) => ConnectError.from(error)));
            await asked;
            return {};
          },
        }),
    }),
  );
  const client = opened.use(connectForTest(server.url));
  const stack = opened.move();
  return {
    target,
    health: client.health,
    outcome: outcome.promise,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

test("within a handler the caller's deadline is the budget, less a margin at each hop, however much it is", async () => {
  for (const timeoutMs of [4_000, 60_000]) {
    await using hop = await startHop();
    await hop.health.check({}, { timeoutMs });
    const told = Number.parseInt(hop.target.requests[0]?.header.get("grpc-timeout") ?? "", 10);
    expect(told).toBeLessThanOrEqual(timeoutMs - 10);
    expect(told).toBeGreaterThan(timeoutMs / 10);
  }
});

test("of a caller without a deadline the client's own limit goes on", async () => {
  await using hop = await startHop();
  await hop.health.check({});
  const told = Number.parseInt(hop.target.requests[0]?.header.get("grpc-timeout") ?? "", 10);
  expect(told).toBeLessThanOrEqual(4_990);
});

test("with the caller's time spent nothing is sent", async () => {
  await using hop = await startHop(async (context) => {
    if (!context.signal.aborted) await once(context.signal, "abort");
    expect(() => onwardCall(context)).toThrow(expect.objectContaining({ code: Code.DeadlineExceeded }));
  });
  // The service alone knows of the deadline: the caller, who waits, sends the call however late it comes to it.
  await expect(hop.health.check({}, { headers: { "grpc-timeout": "1S" } })).rejects.toHaveProperty(
    "code",
    Code.DeadlineExceeded,
  );
  expect(await hop.outcome).toHaveProperty("code", Code.DeadlineExceeded);
  expect(hop.target.sessions.size).toBe(0);
});

test("the caller's abort and its correlation id go on", async () => {
  await using hop = await startHop();
  hop.target.acts = ["hang"];
  const caller = new AbortController();
  const call = hop.health.check({}, { signal: caller.signal, headers: { "x-correlation-id": "abc" } });
  await hop.target.received(1);
  expect(hop.target.requests[0]?.header.get("x-correlation-id")).toBe("abc");
  caller.abort();
  await expect(call).rejects.toHaveProperty("code", Code.Canceled);
  expect(await hop.outcome).toHaveProperty("code", Code.Canceled);
});
