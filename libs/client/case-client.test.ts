import { once } from "node:events";
import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";

import { Code, type HandlerContext } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { createManualClock } from "#test/support/manual-clock.ts";

import { createCaseClient } from "./case-client.ts";
import { defaultLimits } from "./client-options.ts";

const caseId = "01936f5e-8a30-7c4e-9f51-2a7d3b1c0e64";

test("the token is asked for before every call, so that a renewed one is picked up", async () => {
  await using server = await serve(() => ({}));
  let asked = 0;
  await using cases = createCaseClient({ url: server.url, token: async () => `token-${++asked}` });
  await cases.getCase({ caseId });
  await cases.getCase({ caseId });
  expect(server.calls.map(({ requestHeader }) => requestHeader.get("authorization"))).toEqual([
    "Bearer token-1",
    "Bearer token-2",
  ]);
});

test("a call without a limit of its own has five seconds, and the service is told so", async () => {
  await using server = await serve(() => ({}));
  await using cases = createCaseClient({ url: server.url, token: "t", clock: createManualClock() });
  await cases.getCase({ caseId });
  await cases.getCase({ caseId }, { timeoutMs: 60_000 });
  const told = server.calls.map(({ requestHeader }) => requestHeader.get("grpc-timeout"));
  expect(told).toEqual([5_000, 60_000].map((ms) => `${ms - defaultLimits.marginMs}m`));
});

test("a service that does not answer in time is given up", async () => {
  await using server = await serve(() => new Promise<object>(() => {}));
  await using cases = createCaseClient({ url: server.url, token: "t", limits: { defaultTimeoutMs: 50 } });
  await expect(cases.getCase({ caseId })).rejects.toHaveProperty("code", Code.DeadlineExceeded);
});

test("closing the client ends a call under way", async () => {
  const began = Promise.withResolvers<void>();
  await using server = await serve(({ signal }) => {
    began.resolve();
    return once(signal, "abort").then(() => ({}));
  });
  const cases = createCaseClient({ url: server.url, token: "t" });
  const outcome = cases.getCase({ caseId }).catch((error: unknown) => error);
  await began.promise;
  await cases[Symbol.asyncDispose]();
  expect(await outcome).toHaveProperty("code", Code.Canceled);
});

async function serve(getCase: (context: HandlerContext) => object | Promise<object>) {
  const calls: HandlerContext[] = [];
  const server = createServer(
    connectNodeAdapter({
      routes: (router) =>
        router.service(CaseService, {
          getCase: async (_request, context) => {
            calls.push(context);
            return getCase(context);
          },
        }),
    }),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo; // It listens on host and port.
  return {
    url: `http://127.0.0.1:${port}`,
    calls,
    [Symbol.asyncDispose]: async () => void server.close(),
  };
}
