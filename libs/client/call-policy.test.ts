import { constants } from "node:http2";

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";

import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { ErrorInfoSchema, RetryInfoSchema } from "#libs/gen/google/rpc/error_details_pb.ts";
import { Health } from "#libs/gen/grpc/health/v1/health_pb.ts";
import { createManualClock } from "#test/support/manual-clock.ts";
import {
  type Act,
  startScriptedService,
  startScriptedServiceOn,
  type ScriptedService,
} from "#test/support/scripted-service.ts";

import { createCaseClient } from "./case-client.ts";
import type { ClientOptions } from "./client-options.ts";
import { openTransport } from "./open-transport.ts";

const caseId = "01936f5e-8a30-7c4e-9f51-2a7d3b1c0e64";
const limits = { retry: { baseMs: 1, capMs: 2 } } as const;
/** The service keeps such a time too, by the real clock: more than any stall of the machine. */
const attemptLimits = { attemptTimeoutMs: 30_000, defaultTimeoutMs: 90_000 } as const;

function open(server: ScriptedService, options: Partial<ClientOptions> = {}) {
  const opened = openTransport("case", { url: server.url, token: "t", limits, ...options });
  return {
    cases: createClient(CaseService, opened.transport),
    /** Its method has no idempotency level. */
    unmarked: (call: { timeoutMs?: number } = {}) =>
      createClient(Health, opened.transport).check(
        { service: "x" },
        { headers: { "x-scripted": "yes" }, ...call },
      ),
    [Symbol.asyncDispose]: opened[Symbol.asyncDispose],
  };
}

const codeOf = (call: Promise<unknown>) =>
  call.then(
    () => "ok",
    (error: unknown) => Code[ConnectError.from(error).code],
  );

function status(
  code: Code,
  given: { reason?: string; retryMs?: number; pushback?: string } = {},
): ConnectError {
  const { reason, retryMs, pushback } = given;
  const metadata = pushback === undefined ? undefined : { "grpc-retry-pushback-ms": pushback };
  const error = new ConnectError("scripted", code, metadata);
  if (reason !== undefined) {
    error.details.push({ desc: ErrorInfoSchema, value: { reason, domain: "caseflow", metadata: {} } });
  }
  if (retryMs !== undefined) {
    error.details.push({ desc: RetryInfoSchema, value: { retryDelay: durationFromMs(retryMs) } });
  }
  return error;
}

const reset = (code: number): Act => ({ reset: code });

/** What happens, what the caller is told, and how often a marked and an unmarked method are sent. */
const failures: [name: string, act: Act, code: keyof typeof Code, marked: number, unmarked: number][] = [
  ["a refused stream", reset(constants.NGHTTP2_REFUSED_STREAM), "Unavailable", 3, 3],
  ["a cancelled stream", reset(constants.NGHTTP2_CANCEL), "Unavailable", 3, 1],
  ["a stream reset by a fault", reset(constants.NGHTTP2_INTERNAL_ERROR), "Unavailable", 3, 1],
  ["a cut connection", "cut", "Unavailable", 3, 1],
  ["an answer cut in the middle", "cut in the answer", "Unavailable", 3, 1],
  ["UNAVAILABLE", status(Code.Unavailable), "Unavailable", 3, 1],
  ["an unknown outcome", status(Code.Unavailable, { reason: "OUTCOME_UNKNOWN" }), "Unavailable", 3, 1],
  ["a method switched off", status(Code.Unavailable, { reason: "METHOD_DISABLED" }), "Unavailable", 1, 1],
  [
    "a method switched off for a while",
    status(Code.Unavailable, { reason: "METHOD_DISABLED", retryMs: 1 }),
    "Unavailable",
    3,
    1,
  ],
  ["a rate limit", status(Code.ResourceExhausted), "ResourceExhausted", 1, 1],
  ["a rate limit with RetryInfo", status(Code.ResourceExhausted, { retryMs: 1 }), "ResourceExhausted", 3, 1],
  ["too many frames", reset(constants.NGHTTP2_ENHANCE_YOUR_CALM), "ResourceExhausted", 1, 1],
  ["a pushback", status(Code.Unavailable, { pushback: "1" }), "Unavailable", 3, 1],
  ["a pushback for ever", status(Code.Unavailable, { pushback: "-1" }), "Unavailable", 1, 1],
  ["a pushback that is no number", status(Code.Unavailable, { pushback: "soon" }), "Unavailable", 1, 1],
  ["the server's own ABORTED", status(Code.Aborted), "Aborted", 1, 1],
  ["the server's own ABORTED with RetryInfo", status(Code.Aborted, { retryMs: 1 }), "Aborted", 1, 1],
  ["the server's own CANCELED", status(Code.Canceled), "Canceled", 1, 1],
  ["the server's own INTERNAL", status(Code.Internal), "Internal", 1, 1],
  ["the server's own DEADLINE_EXCEEDED", status(Code.DeadlineExceeded), "DeadlineExceeded", 1, 1],
  ["a refusal by the rules", status(Code.FailedPrecondition), "FailedPrecondition", 1, 1],
];

for (const protocol of ["grpc", "connect"] as const) {
  test.each(failures)(
    `over ${protocol}, %s has its code and as many attempts as are safe`,
    async (...row) => {
      const [, act, code, marked, unmarked] = row;
      await using server = await startScriptedService(act);
      await using client = open(server, { protocol });
      expect(await codeOf(client.cases.getCase({ caseId }))).toBe(code);
      expect(server.requests).toHaveLength(marked);
      expect(await codeOf(client.cases.submitCase({ caseId }))).toBe(code);
      expect(server.requests).toHaveLength(2 * marked);
      expect(await codeOf(client.unmarked())).toBe(code);
      expect(server.requests).toHaveLength(2 * marked + unmarked);
    },
  );
}

test("a connection that goes away under a call does not lose it", async () => {
  await using server = await startScriptedService("go away", "go away", "answer");
  await using client = open(server);
  for (const _ of [1, 2, 3]) expect(await codeOf(client.cases.getCase({ caseId }))).toBe("ok");
});

test("while nobody listens a call waits and tries again, whatever its method, and has its answer once somebody does", async () => {
  const gone = await startScriptedService();
  await gone[Symbol.asyncDispose]();
  const clock = createManualClock();
  await using client = open(gone, { clock });
  const call = codeOf(client.unmarked());
  await expect.poll(() => clock.timers()).toBe(2); // Of its time, and of its wait.
  await using _server = await startScriptedServiceOn(Number(new URL(gone.url).port));
  await clock.advance(10);
  expect(await call).toBe("ok");
});

test("nobody listening is UNAVAILABLE", async () => {
  const gone = await startScriptedService();
  await gone[Symbol.asyncDispose]();
  await using client = open(gone);
  expect(await codeOf(client.cases.getCase({ caseId }))).toBe("Unavailable");
});

test("a hung attempt is given up at its own limit and tried again, if the method is marked", async () => {
  await using server = await startScriptedService("hang", "answer");
  const clock = createManualClock();
  await using client = open(server, { clock, limits: { ...limits, ...attemptLimits } });
  const marked = codeOf(client.cases.getCase({ caseId }));
  await server.received(1);
  await clock.advance(attemptLimits.attemptTimeoutMs);
  await expect.poll(async () => (await clock.advance(1), server.requests.length)).toBe(2);
  expect(await marked).toBe("ok");
  server.acts = ["hang"];
  const unmarked = codeOf(client.unmarked());
  await server.received(3);
  await clock.advance(attemptLimits.attemptTimeoutMs);
  expect(await unmarked).toBe("DeadlineExceeded");
  expect(server.requests).toHaveLength(3);
});

test("an attempt whose limit the service itself keeps is tried again too", async () => {
  await using server = await startScriptedService(status(Code.DeadlineExceeded), "answer");
  await using client = open(server, { limits: { ...limits, ...attemptLimits } });
  expect(await codeOf(client.cases.getCase({ caseId }))).toBe("ok");
  server.acts = [status(Code.DeadlineExceeded)];
  await using whole = open(server);
  expect(await codeOf(whole.cases.getCase({ caseId }))).toBe("DeadlineExceeded");
  expect(server.requests).toHaveLength(3);
});

test("a stream's service is told the call's time, and not the attempt's", async () => {
  await using server = await startScriptedService("answer");
  await using client = open(server, { limits: { ...limits, attemptTimeoutMs: 500 } });
  for await (const _ of client.cases.watchCases({}, { timeoutMs: 60_000 })) break;
  expect(Number.parseInt(server.requests[0]?.header.get("grpc-timeout") ?? "", 10)).toBeGreaterThan(30_000);
});

test("a stream that fails before anybody reads it is told when somebody does, and ends no process", async () => {
  await using server = await startScriptedService(status(Code.PermissionDenied));
  await using client = open(server);
  const unhandled: unknown[] = [];
  const onUnhandled = (reason: unknown) => unhandled.push(reason);
  process.on("unhandledRejection", onUnhandled);
  try {
    const messages = client.cases.watchCases({})[Symbol.asyncIterator]();
    await server.received(1);
    await client.cases.getCase({ caseId }).catch(() => {}); // Its answer comes after the other's.
    expect(await codeOf(messages.next())).toBe("PermissionDenied");
    expect(unhandled).toEqual([]);
  } finally {
    process.off("unhandledRejection", onUnhandled);
  }
});

test("a write gets its request id once and keeps it; the caller's own and the caller's message stay as they are", async () => {
  await using server = await startScriptedService(
    status(Code.Unavailable),
    status(Code.Unavailable),
    "answer",
  );
  await using cases = createCaseClient({ url: server.url, token: "t", limits });
  const request = { caseType: "permit", requestId: "" };
  await cases.createCase(request);
  const ids = () => server.calls.map(({ requestId }) => requestId);
  expect(ids()).toHaveLength(3);
  expect(new Set(ids()).size).toBe(1);
  expect(ids()[0]).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/);
  expect(request.requestId).toBe("");
  await cases.createCase(request); // Another call, another intention.
  expect(ids().at(-1)).not.toBe(ids()[0]);
  await cases.createCase({ ...request, requestId: caseId });
  expect(ids().at(-1)).toBe(caseId);
});

test("a read gets no request id", async () => {
  await using server = await startScriptedService();
  await using client = open(server);
  await client.cases.getCase({ caseId });
  expect(server.calls[0]?.requestId).toBe("");
});

test("every attempt tells the service less time than the call has left, and less than the attempt before", async () => {
  await using server = await startScriptedService(status(Code.Unavailable, { pushback: "20" }));
  for (const [protocol, name] of [
    ["grpc", "grpc-timeout"],
    ["connect", "connect-timeout-ms"],
  ] as const) {
    await using client = open(server, { protocol });
    const seen = server.requests.length;
    await codeOf(client.cases.getCase({ caseId }, { timeoutMs: 60_000 }));
    const told = server.requests.slice(seen).map(({ header }) => Number.parseInt(header.get(name) ?? "", 10));
    expect(told).toHaveLength(3);
    expect(told[0]).toBeLessThanOrEqual(59_990);
    expect(told[1]).toBeLessThanOrEqual(told[0]! - 20);
    expect(told[2]).toBeLessThanOrEqual(told[1]! - 20);
  }
});

test.each([0, -1, Number.NaN, 9])(
  "with %s ms left a call fails here, at once, and nothing is sent",
  async (timeoutMs) => {
    await using server = await startScriptedService();
    await using client = open(server);
    expect(await codeOf(client.cases.getCase({ caseId }, { timeoutMs }))).toBe("DeadlineExceeded");
    const stream = client.cases.watchCases({}, { timeoutMs })[Symbol.asyncIterator]();
    expect(await codeOf(stream.next())).toBe("DeadlineExceeded");
    expect(server.sessions.size).toBe(0);
  },
);

test("a caller that gives up gets CANCELED: under way, in the queue, while waiting to try again", async () => {
  await using server = await startScriptedService("hang", status(Code.Unavailable, { pushback: "4000" }));
  await using client = open(server, { limits: { bulkhead: { inFlightMax: 1 } } });
  const caller = new AbortController();
  const underWay = codeOf(client.cases.getCase({ caseId }, { signal: caller.signal }));
  await server.received(1);
  const queued = codeOf(client.cases.getCase({ caseId }, { signal: caller.signal }));
  caller.abort();
  expect(await Promise.all([underWay, queued])).toEqual(["Canceled", "Canceled"]);
  const other = new AbortController();
  const waiting = codeOf(client.cases.getCase({ caseId }, { signal: other.signal }));
  await server.received(2);
  other.abort();
  expect(await waiting).toBe("Canceled");
  expect(server.requests).toHaveLength(2);
});

test("one call too many is refused here as RESOURCE_EXHAUSTED, and is not sent", async () => {
  await using server = await startScriptedService("hang");
  await using client = open(server, {
    limits: { bulkhead: { inFlightMax: 2, queueMax: 1 }, defaultTimeoutMs: 300 },
  });
  const calls = [1, 2, 3, 4].map(() => codeOf(client.cases.getCase({ caseId })));
  expect(await calls[3]).toBe("ResourceExhausted");
  expect(await Promise.all(calls.slice(0, 3))).toEqual([1, 2, 3].map(() => "DeadlineExceeded"));
  expect(server.requests.length).toBeLessThanOrEqual(2);
});

test("a stream is tried again until its first message is there, and not after that", async () => {
  await using server = await startScriptedService(status(Code.Unavailable), "cut", "answer");
  await using client = open(server);
  const messages = [];
  for await (const message of client.cases.watchCases({})) messages.push(message);
  expect(messages).toHaveLength(1);
  expect(server.requests).toHaveLength(3);
  const stream = client.cases.watchCases({}, { headers: { "x-stay": "yes" } })[Symbol.asyncIterator]();
  await stream.next();
  for (const session of server.sessions) session.destroy();
  expect(await codeOf(stream.next())).toBe("Unavailable");
  expect(server.requests).toHaveLength(4);
});

test("a stream has its place until it ends or its time is up, also when nobody reads on", async () => {
  await using server = await startScriptedService();
  const clock = createManualClock();
  await using client = open(server, { clock, limits: { bulkhead: { inFlightMax: 1, queueMax: 0 } } });
  const held = client.cases.watchCases({}, { headers: { "x-stay": "yes" }, timeoutMs: 60_000 });
  const steps = held[Symbol.asyncIterator]();
  await steps.next();
  expect(await codeOf(client.cases.getCase({ caseId }))).toBe("ResourceExhausted");
  await clock.advance(60_000);
  expect(await codeOf(client.cases.getCase({ caseId }))).toBe("ok");
  expect(await codeOf(steps.next())).toBe("DeadlineExceeded");
});

test("a closed client fails its calls, and later ones, as CANCELED", async () => {
  await using server = await startScriptedService("hang");
  const client = open(server);
  const call = codeOf(client.cases.getCase({ caseId }));
  await server.received(1);
  await client[Symbol.asyncDispose]();
  expect(await call).toBe("Canceled");
  expect(await codeOf(client.cases.getCase({ caseId }))).toBe("Canceled");
});

test.each([
  [{ defaultTimeoutMs: Infinity }],
  [{ bulkhead: { queueMax: Infinity } }],
  [{ retry: { capMs: Number.NaN } }],
  [{ connection: { pulse: { timeoutMs: -1 } } }],
])("a client is not opened with a limit that is none: %j", (given) => {
  expect(() => createCaseClient({ url: "http://127.0.0.1:1", token: "t", limits: given })).toThrow(TypeError);
});
