import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";

import type {
  DescMessage,
  DescMethod,
  DescMethodStreaming,
  DescMethodUnary,
  MessageInitShape,
} from "@bufbuild/protobuf";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import {
  Code,
  ConnectError,
  createClient,
  type ConnectRouter,
  type HandlerContext,
  type Interceptor,
  type ServiceImpl,
} from "@connectrpc/connect";
import { compressionGzip, createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { createAsyncIterable } from "@connectrpc/connect/protocol";
import { createValidateInterceptor } from "@connectrpc/validate";
import { expect, test } from "vitest";

import { Fault } from "#libs/fault/fault.ts";
import { AuditService } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RequestInfoSchema,
  RetryInfoSchema,
} from "#libs/gen/google/rpc/error_details_pb.ts";
import { Health, HealthCheckResponse_ServingStatus as Status } from "#libs/gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "#libs/gen/grpc/reflection/v1/reflection_pb.ts";

import {
  connectForTest,
  protocols,
  readMaxBytes,
  serveForTest,
  within,
  writeMaxBytes,
  type TestClient,
  type TestServer,
} from "./serve-for-test.ts";

const serving = { status: Status.SERVING };
const notNow = () =>
  new Fault("NOT_NOW", { state: "closed" }, { message: "not in this state", retryAfterMs: 1_500 });

test.each(protocols)(
  "a fault over %s arrives as its code, with reason, metadata and the call's id",
  async (p) => {
    await using server = await serveCheck(() => {
      throw new Fault("NOT_NOW", { state: "closed" }, { message: "not in this state" });
    });
    using client = connectForTest(server.url, p);
    const error = await errorOf(client.health.check({}));
    expect(error).toMatchObject({ code: Code.FailedPrecondition, rawMessage: "not in this state" });
    expect(error.findDetails(ErrorInfoSchema)).toMatchObject([
      { reason: "NOT_NOW", domain: "test", metadata: { state: "closed" } },
    ]);
    const line = await server.line(1);
    expect(line).toMatchObject({ code: "failed_precondition", reason: "NOT_NOW" });
    expect(error.findDetails(RequestInfoSchema)).toMatchObject([{ requestId: line.requestId }]);
    expect(error.metadata.get("x-correlation-id")).toBe(line.correlationId);
    expect(server.unexpected).toEqual([]);
  },
);

test("a fault names fields and the time to wait, and the caller cannot be sent more of them than fit", async () => {
  const fields = Array.from({ length: 1_000 }, (_, index) => ({
    field: `items[${index}]`,
    description: "d".repeat(10_000),
    reason: "BAD",
  }));
  await using server = await serveCheck(() => {
    throw new Fault("INVALID_REQUEST", {}, { fields, retryAfterMs: 1_500 });
  });
  using client = connectForTest(server.url);
  const error = await errorOf(client.health.check({}));
  const [badRequest] = error.findDetails(BadRequestSchema);
  expect(badRequest?.fieldViolations).toHaveLength(32);
  expect(badRequest?.fieldViolations[0]).toMatchObject({ field: "items[0]", reason: "BAD" });
  expect(badRequest?.fieldViolations[0]?.description).toHaveLength(512);
  expect(error.findDetails(RetryInfoSchema)).toMatchObject([
    { retryDelay: { seconds: 1n, nanos: 500_000_000 } },
  ]);
});

test.each(protocols)(
  "a fault in the middle of a stream over %s arrives after what came before it",
  async (p) => {
    await using server = await serveForTest({
      routes: (router) =>
        router.service(Health, {
          async *watch() {
            yield serving;
            throw notNow();
          },
        }),
    });
    using client = connectForTest(server.url, p);
    const stream = client.health.watch({})[Symbol.asyncIterator]();
    expect((await stream.next()).value).toMatchObject(serving);
    const error = await errorOf(stream.next());
    expect(error.code).toBe(Code.FailedPrecondition);
    expect(reasonOf(error)).toBe("NOT_NOW");
    expect(await server.line(1)).toMatchObject({
      code: "failed_precondition",
      reason: "NOT_NOW",
      streaming: true,
    });
  },
);

test("a fault while a stream's requests are read arrives like any other", async () => {
  await using server = await serveForTest({
    routes: (router) =>
      router.service(ServerReflection, {
        async *serverReflectionInfo(requests) {
          for await (const _ of requests) {
            yield {};
            throw notNow();
          }
        },
      }),
  });
  using client = connectForTest(server.url);
  const reflection = createClient(ServerReflection, client.transport);
  const error = await errorOf(last(reflection.serverReflectionInfo(endless({ host: "a" }))));
  expect(reasonOf(error)).toBe("NOT_NOW");
});

const bug = new TypeError("postgres://user:secret@host is undefined");
const bugs: Record<string, unknown> = {
  "an exception": bug,
  "something that is no error": "secret",
  "a fault without a code": new Fault("UNHEARD_OF_secret"),
  "an internal ConnectError": new ConnectError("secret", Code.Internal),
  "an unknown ConnectError": ConnectError.from(bug),
};

test.each(Object.entries(bugs))("of %s the caller learns nothing and we learn once", async (_, thrown) => {
  await using server = await serveForTest({
    routes: (router) =>
      router.service(Health, {
        check() {
          throw thrown;
        },
        async *watch() {
          yield serving;
          throw thrown;
        },
      }),
  });
  using client = connectForTest(server.url);
  const calls = [client.health.check({}), last(client.health.watch({}))];
  for (const error of await Promise.all(calls.map(errorOf))) {
    expect(error).toMatchObject({ code: Code.Internal, rawMessage: "internal error" });
    expect(JSON.stringify([...error.metadata, error.details])).not.toContain("secret");
    expect(error.findDetails(RequestInfoSchema)).toHaveLength(1);
  }
  await server.line(2);
  expect(server.unexpected).toHaveLength(2);
  for (const { error, call } of server.unexpected) {
    expect(error).toBe(thrown);
    expect(server.lines.map(({ requestId }) => requestId)).toContain(call.requestId);
  }
});

test("what another service answered is not passed on", async () => {
  await using backend = await serveCheck(({ service }) => {
    throw service === "late"
      ? new ConnectError("late", Code.DeadlineExceeded, { "x-theirs": "1" })
      : notNow();
  });
  // Its headers would not even be allowed in HTTP/2.
  using inner = connectForTest(backend.url, "connect h1");
  await using server = await serveCheck(({ service }) => inner.health.check({ service }));
  using client = connectForTest(server.url);
  const error = await errorOf(client.health.check({}));
  expect(error).toMatchObject({ code: Code.Internal, rawMessage: "internal error" });
  expect(error.findDetails(ErrorInfoSchema)).toEqual([]);
  expect(server.unexpected).toHaveLength(1);

  const late = await errorOf(client.health.check({ service: "late" }));
  expect(late.code).toBe(Code.DeadlineExceeded);
  expect([...late.metadata.keys()]).not.toContain("x-theirs");
  const [requestInfo] = late.findDetails(RequestInfoSchema);
  expect(requestInfo?.requestId).toBe((await server.line(2)).requestId);
  expect(server.unexpected).toHaveLength(1);
});

test("a ConnectError of a handler keeps its code, metadata and details, and gains the reason of its code", async () => {
  const detail = { desc: RetryInfoSchema, value: { retryDelay: { seconds: 7n } } };
  const shared = new ConnectError("no", Code.InvalidArgument, { "x-why": "because" }, [detail]);
  await using server = await serveCheck(() => {
    throw shared;
  });
  using client = connectForTest(server.url);
  const errors = [await errorOf(client.health.check({})), await errorOf(client.health.check({}))];
  for (const error of errors) {
    expect(error).toMatchObject({ code: Code.InvalidArgument, rawMessage: "no" });
    expect(error.metadata.get("x-why")).toBe("because");
    expect(error.findDetails(RetryInfoSchema)).toMatchObject([{ retryDelay: { seconds: 7n } }]);
    expect(reasonOf(error)).toBe("INVALID_REQUEST");
  }
  // One error thrown in two calls bears the id of each.
  const ids = errors.map((error) => error.findDetails(RequestInfoSchema).map(({ requestId }) => requestId));
  expect(ids).toEqual(server.lines.map(({ requestId }) => [requestId]));
  expect(shared.details).toHaveLength(1);
});

test("a message may be of any length and of any characters", async () => {
  await using server = await serveCheck(() => {
    throw new Fault("NOT_NOW", {}, { message: `\ud800${"x".repeat(100_000)}` });
  });
  for (const protocol of protocols) {
    using client = connectForTest(server.url, protocol);
    const error = await errorOf(client.health.check({}));
    expect(reasonOf(error)).toBe("NOT_NOW");
    expect(error.rawMessage).toMatch(/^\ufffdx{510}…$/);
  }
});

test("a gate may throw a fault", async () => {
  const gates = [
    () => {
      throw notNow();
    },
  ];
  await using server = await serveForTest({ routes: (router) => router.service(Health, {}), gates });
  for (const protocol of protocols) {
    using client = connectForTest(server.url, protocol);
    expect(reasonOf(await errorOf(client.health.check({})))).toBe("NOT_NOW");
    expect(reasonOf(await errorOf(last(client.health.watch({}))))).toBe("NOT_NOW");
  }
});

test.each(protocols)("a message over %s that is too large is refused with a reason", async (protocol) => {
  await using server = await serveHealth();
  using client = connectForTest(server.url, protocol);
  const request = { service: "x".repeat(readMaxBytes) };
  await expectRefusal(server, client.health.check(request), Code.ResourceExhausted, "TOO_LARGE");
  await expectRefusal(server, last(client.health.watch(request)), Code.ResourceExhausted, "TOO_LARGE");
});

test.each([
  ["application/json", Buffer.from(`{"service":"${"x".repeat(2 * readMaxBytes)}`), "429"],
  ["application/grpc-web", Buffer.concat([Buffer.of(0, 0, 1, 0, 0), Buffer.alloc(100)]), "200"],
])("a caller over HTTP/1.1 that still sends its too large %s is answered", async (type, bytes, status) => {
  await using server = await serveHealth();
  const socket = connect(server.port, "127.0.0.1");
  socket.write(`POST /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: a\r\ncontent-type: ${type}\r\n`);
  socket.write(`transfer-encoding: chunked\r\n\r\n${bytes.length.toString(16)}\r\n`);
  socket.write(bytes);
  const [answer] = (await within(once(socket, "data"), "an answer")) as [Buffer];
  expect(answer.toString("latin1")).toContain(`HTTP/1.1 ${status}`);
  expect(await server.line(1)).toMatchObject({ reason: "TOO_LARGE" });
  socket.destroy();
});

test("a small message that becomes a large one is refused before it takes the memory", async () => {
  await using server = await serveHealth();
  const options = { baseUrl: server.url, sendCompression: compressionGzip, compressMinBytes: 0 };
  const transports = [
    createGrpcTransport(options),
    createConnectTransport({ ...options, httpVersion: "1.1" }),
    createConnectTransport({ ...options, httpVersion: "1.1", useBinaryFormat: false }),
  ];
  for (const transport of transports) {
    const client = createClient(Health, transport);
    const bomb = { service: "x".repeat(5_000_000) };
    await expectRefusal(server, client.check(bomb), Code.ResourceExhausted, "TOO_LARGE");
    await expectRefusal(server, last(client.watch(bomb)), Code.ResourceExhausted, "TOO_LARGE");
  }
  using client = connectForTest(server.url);
  expect(await client.health.check({})).toMatchObject(serving);
});

test.each(protocols)("bytes over %s that are no such message are the caller's mistake", async (protocol) => {
  await using server = await serveHealth();
  using client = connectForTest(server.url, protocol);
  for (const method of [Health.method.check, Health.method.watch]) {
    const send = misuse(client, method, DurationSchema, { seconds: 5n });
    await expectRefusal(server, send, Code.InvalidArgument, "INVALID_REQUEST");
  }
  expect(server.unexpected).toEqual([]);
});

test("an unknown field is refused in JSON and passed over in binary", async () => {
  await using server = await serveHealth();
  for (const protocol of protocols) {
    using client = connectForTest(server.url, protocol);
    const send = misuse(client, Health.method.check, RequestInfoSchema, { servingData: "new" });
    if (protocol !== "connect json") expect(await send).toMatchObject([serving]);
    else await expectRefusal(server, send, Code.InvalidArgument, "INVALID_REQUEST");
  }
});

test.each([
  ["no JSON", { "content-type": "application/json" }, "{", 400],
  ["JSON of another shape", { "content-type": "application/json" }, `{"service":5}`, 400],
  ["half a character", { "content-type": "application/json" }, `{"service":5,"a":"\\ud800"}`, 400],
  ["no gzip", { "content-type": "application/json", "content-encoding": "gzip" }, "{}", 400],
  ["an unknown compression", { "content-type": "application/json", "content-encoding": "lzw" }, "{}", 501],
  ["brotli", { "content-type": "application/json", "content-encoding": "br" }, "{}", 501],
  ["a timeout in words", { "content-type": "application/json", "connect-timeout-ms": "soon" }, "{}", 400],
])("%s in a request is refused with the call's id", async (_, headers, body, status) => {
  await using server = await serveHealth();
  const response = await post(server, headers, body);
  expect(response.status).toBe(status);
  const { details } = response.error;
  const line = await server.line(1);
  expect(details).toContainEqual(expect.objectContaining({ debug: { requestId: line.requestId } }));
  expect(response.correlationId).toBe(line.correlationId);
  expect(server.unexpected).toEqual([]);
  expect(server.failures).toEqual([]);
});

test("a GET whose message is no base64 is the caller's mistake", async () => {
  await using server = await serveForTest({
    routes: (router) => router.service(AuditService, { getEvent: () => ({}) }),
  });
  const query = "connect=v1&encoding=proto&base64=1&message=%25%25";
  const response = await fetch(`${server.url}/caseflow.audit.v1.AuditService/GetEvent?${query}`);
  expect(response.status).toBe(400);
  expect(await response.json()).toMatchObject({ code: "invalid_argument" });
  expect(await server.line(1)).toMatchObject({ code: "invalid_argument", reason: "INVALID_REQUEST" });
});

test.each(protocols)("an answer over %s that is too large is an error with a reason", async (protocol) => {
  const service = "x".repeat(writeMaxBytes);
  await using server = await serveForTest({
    routes: (router) => router.service(Health, { list: () => ({ statuses: { [service]: serving } }) }),
  });
  using client = connectForTest(server.url, protocol);
  await expectRefusal(server, client.health.list({}), Code.ResourceExhausted, "TOO_LARGE");
});

test("an answer that cannot be written is a bug of ours, told without detail", async () => {
  await using server = await serveCheck(() => ({ status: "secret" as never }));
  using client = connectForTest(server.url);
  const error = await errorOf(client.health.check({}));
  expect(error).toMatchObject({ code: Code.Internal, rawMessage: "internal error" });
  await server.line(1);
  expect(server.unexpected).toHaveLength(1);
});

test("broken rules of the schema arrive as field violations", async () => {
  await using server = await serveForTest({
    routes: (router) => router.service(AuditService, { listEvents: () => ({}) }),
    interceptors: [createValidateInterceptor()],
  });
  using client = connectForTest(server.url);
  const audit = createClient(AuditService, client.transport);
  const error = await errorOf(audit.listEvents({ pageSize: 501, filter: { actorId: "x".repeat(200) } }));
  expect(error.code).toBe(Code.InvalidArgument);
  expect(reasonOf(error)).toBe("INVALID_REQUEST");
  const fields = error.findDetails(BadRequestSchema)[0]?.fieldViolations.map(({ field }) => field);
  expect(fields?.toSorted()).toEqual(["filter.actor_id", "page_size"]);
  expect(error.details).toHaveLength(3);
});

test("rules of the schema that cannot be applied are a bug of ours", async () => {
  const cause = Object.assign(new Error("no such function: secret"), { name: "CompilationError" });
  const broken: Interceptor = () => () => {
    throw new ConnectError(cause.message, Code.InvalidArgument, undefined, undefined, cause);
  };
  await using server = await serveForTest({
    routes: (router) => router.service(Health, {}),
    interceptors: [broken],
  });
  using client = connectForTest(server.url);
  expect(await errorOf(client.health.check({}))).toMatchObject({
    code: Code.Internal,
    rawMessage: "internal error",
  });
  expect(server.unexpected).toHaveLength(1);
});

const waysToNotice: Record<string, (context: HandlerContext) => Promise<never>> = {
  "throws the signal's reason": async ({ signal }) => {
    await aborted(signal);
    throw signal.reason;
  },
  "is aborted by Node": async ({ signal }) => {
    await aborted(signal);
    throw new DOMException("aborted", "AbortError");
  },
};

test.each(Object.entries(waysToNotice))("a handler that %s at the deadline has no bug", async (_, notice) => {
  await using server = await serveCheck((_request, context) => notice(context));
  // Of the two clocks only the server's runs here.
  const headers = { "content-type": "application/json", "connect-timeout-ms": "20" };
  const response = await post(server, headers, "{}");
  expect(response.error.code).toBe("deadline_exceeded");
  expect(await server.line(1)).toMatchObject({ code: "deadline_exceeded" });
  expect(server.unexpected).toEqual([]);
});

test.each(Object.entries(waysToNotice))(
  "a handler that %s when the caller leaves has no bug",
  async (_, notice) => {
    for (const protocol of protocols) {
      const started = Promise.withResolvers<void>();
      await using server = await serveCheck((_request, context) => {
        started.resolve();
        return notice(context);
      });
      using client = connectForTest(server.url, protocol);
      const leave = new AbortController();
      const call = errorOf(client.health.check({}, { signal: leave.signal }));
      await within(started.promise, "the call");
      leave.abort();
      await call;
      expect(await server.line(1)).toMatchObject({ code: "canceled" });
      expect(server.unexpected).toEqual([]);
      expect(server.failures).toEqual([]);
    }
  },
);

test("a caller that leaves in the middle of its request is no mistake of anybody", async () => {
  await using server = await serveHealth();
  const head = `POST /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n`;
  const socket = connect(server.port, "127.0.0.1");
  socket.write(`${head}content-length: 100\r\n\r\n{`);
  await server.received(1);
  socket.destroy();
  expect(await server.line(1)).toMatchObject({ code: "canceled" });

  const session = connectHttp2(server.url);
  session.on("error", () => {});
  const stream = session.request({
    ":method": "POST",
    ":path": "/grpc.health.v1.Health/Check",
    "content-type": "application/grpc",
  });
  stream.on("error", () => {});
  stream.write(Buffer.alloc(3));
  await server.received(2);
  session.destroy();
  expect(await server.line(2)).toMatchObject({ code: "canceled" });
  expect(server.unexpected).toEqual([]);
  expect(server.failures).toEqual([]);
});

function serveCheck(check: ServiceImpl<typeof Health>["check"]): Promise<TestServer> {
  return serveForTest({ routes: (router) => router.service(Health, { check }) });
}

function serveHealth(): Promise<TestServer> {
  const routes = (router: ConnectRouter) =>
    router.service(Health, {
      check: () => serving,
      async *watch() {
        yield serving;
      },
    });
  return serveForTest({ routes });
}

/** Also that the caller was told the id under which the call was logged. */
async function expectRefusal(server: TestServer, call: Promise<unknown>, code: Code, reason: string) {
  const count = server.lines.length + 1;
  const error = await errorOf(call);
  expect({ code: error.code, reason: reasonOf(error) }).toEqual({ code, reason });
  const line = await server.line(count);
  expect(line.reason).toBe(reason);
  expect(error.findDetails(RequestInfoSchema)).toMatchObject([{ requestId: line.requestId }]);
}

/** Sends another message than the method takes; the answer's messages. */
async function misuse<I extends DescMessage>(
  client: TestClient,
  method: DescMethod,
  input: I,
  message: MessageInitShape<I>,
): Promise<unknown[]> {
  const { transport } = client;
  if (method.methodKind === "unary") {
    const misused = { ...method, input } as DescMethodUnary<I>;
    return [(await transport.unary(misused, undefined, undefined, undefined, message)).message];
  }
  const misused = { ...method, input } as DescMethodStreaming<I>;
  const one = createAsyncIterable([message]);
  const answer = await transport.stream(misused, undefined, undefined, undefined, one);
  return Array.fromAsync(answer.message);
}

async function post(server: TestServer, headers: Record<string, string>, body: string) {
  const response = await fetch(`${server.url}/grpc.health.v1.Health/Check`, {
    method: "POST",
    headers,
    body,
  });
  return {
    status: response.status,
    correlationId: response.headers.get("x-correlation-id"),
    error: (await response.json()) as { code: string; details: unknown[] },
  };
}

async function errorOf(call: Promise<unknown>): Promise<ConnectError> {
  const [result] = await within(Promise.allSettled([call]), "an answer");
  if (result.status === "fulfilled") throw new Error("the call did not fail");
  return ConnectError.from(result.reason);
}

function reasonOf(error: ConnectError): string | undefined {
  const infos = error.findDetails(ErrorInfoSchema);
  expect(infos.length).toBeLessThanOrEqual(1);
  return infos[0]?.reason;
}

async function last(stream: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of stream);
}

async function* endless<T>(item: T): AsyncIterable<T> {
  yield item;
  await new Promise(() => {});
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}
