import { once } from "node:events";
import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { Code, ConnectError, createClient, type ServiceImpl, type Transport } from "@connectrpc/connect";
import { connectNodeAdapter, createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Health } from "#libs/gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "#libs/gen/grpc/reflection/v1/reflection_pb.ts";
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from "#test/support/otlp-receiver.ts";
import { clientSpans } from "./client-spans.ts";
import { shutdownTelemetry, startTelemetry } from "./sdk.ts";
import { serverSpans } from "./server-spans.ts";
import { withStatementSpan } from "./statement-spans.ts";
import { currentTraceparent, withSpan } from "./trace-context.ts";

const stack = new AsyncDisposableStack();
let receiver: OtlpReceiver;
let transports: Record<"grpc" | "connectrpc", Transport>;
/** What the handlers do; the tests say. */
let handle: Pick<ServiceImpl<typeof Health>, "check" | "watch">;

beforeAll(async () => {
  receiver = stack.use(await startOtlpReceiver());
  for (const [name, value] of Object.entries(receiver.env)) vi.stubEnv(name, value);
  await startTelemetry(receiver.env);
  stack.defer(() => shutdownTelemetry(1_000));
  const adapter = connectNodeAdapter({
    interceptors: [serverSpans],
    routes: (router) => {
      router.service(Health, {
        check: (request, context) => handle.check(request, context),
        watch: (request, context) => handle.watch(request, context),
      });
      router.service(ServerReflection, {
        async *serverReflectionInfo(requests) {
          for await (const request of requests) {
            await withSpan("step", {}, async () => {});
            yield { originalRequest: request };
          }
        },
      });
    },
  });
  const server = createServer(adapter).listen(0, "127.0.0.1");
  await once(server, "listening");
  stack.defer(() => void server.close());
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`; // It listens on TCP.
  const options = {
    baseUrl,
    httpVersion: "2" as const,
    interceptors: [clientSpans],
  };
  transports = { grpc: createGrpcTransport(options), connectrpc: createConnectTransport(options) };
});

afterAll(() => stack.disposeAsync());

const protocols = [["grpc"], ["connectrpc"]] as const;

test.each(protocols)(
  "by %s, a call's spans hang together from the caller to the handler",
  async (protocol) => {
    handle = { ...handle, check: () => withSpan("inside", {}, async () => ({})) };

    const trace = await traced(protocol, async () => {
      await createClient(Health, transports[protocol]).check({});
    });

    const attributes = { "rpc.system.name": protocol, "rpc.method": "grpc.health.v1.Health/Check" };
    const status = protocol === "grpc" ? { "rpc.status_code": "OK" } : {};
    expect(trace.tree()).toEqual(["root", "client Health/Check", "server Health/Check", "internal inside"]);
    for (const span of trace.spans.filter(({ name }) => name === "grpc.health.v1.Health/Check")) {
      expect(span).toMatchObject({ failed: false, attributes: { ...attributes, ...status } });
    }
  },
);

test.each(protocols)(
  "by %s, a stream's handler runs inside the call's span from first to last",
  async (protocol) => {
    handle = {
      ...handle,
      async *watch() {
        for (const step of ["first", "second"]) {
          await new Promise((resolve) => setImmediate(resolve));
          await withSpan(step, {}, async () => {});
          yield {};
        }
        await withSpan("last", {}, async () => {});
      },
    };

    const trace = await traced(protocol, async () => {
      for await (const _ of createClient(Health, transports[protocol]).watch({}));
    });

    expect(trace.tree()).toEqual([
      "root",
      "client Health/Watch",
      "server Health/Watch",
      "internal first",
      "internal second",
      "internal last",
    ]);
  },
);

test("a stream both ways has one span on either side", async () => {
  const trace = await traced("grpc", async () => {
    const requests = (async function* () {
      yield { host: "a" };
      yield { host: "b" };
    })();
    for await (const _ of createClient(ServerReflection, transports.grpc).serverReflectionInfo(requests));
  });

  expect(trace.tree()).toEqual([
    "root",
    "client ServerReflection/ServerReflectionInfo",
    "server ServerReflection/ServerReflectionInfo",
    "internal step",
    "internal step",
  ]);
});

test.each([
  ["grpc", Code.NotFound, "NOT_FOUND", false],
  ["grpc", Code.Internal, "INTERNAL", true],
  ["grpc", Code.Canceled, "CANCELLED", false],
  ["connectrpc", Code.FailedPrecondition, "failed_precondition", false],
  ["connectrpc", Code.Unavailable, "unavailable", true],
] as const)("by %s, code %d is recorded as %s", async (protocol, code, name, serverFailed) => {
  const fail = () => {
    throw new ConnectError("no", code);
  };
  handle = {
    check: fail,
    async *watch() {
      yield {};
      fail();
    },
  };

  const trace = await traced(protocol, async () => {
    const client = createClient(Health, transports[protocol]);
    await client.check({}).catch(() => {});
    const stream = (async () => {
      for await (const _ of client.watch({}));
    })();
    await stream.catch(() => {});
  });

  const recorded = trace.spans
    .filter((span) => span.kind !== "internal")
    .map((span) => [
      span.kind,
      span.attributes["rpc.status_code"],
      span.failed,
      span.attributes["error.type"],
    ]);
  const server = ["server", name, serverFailed, serverFailed ? name : undefined];
  const client = ["client", name, true, name];
  expect(recorded.toSorted((a, b) => (String(a) < String(b) ? -1 : 1))).toEqual([
    client,
    client,
    server,
    server,
  ]);
});

test("an error of no known kind is an unknown one, and its text is not in the span", async () => {
  handle = { ...handle, check: () => Promise.reject(new Error("hunter2")) };

  const trace = await traced("grpc", async () => {
    await createClient(Health, transports.grpc)
      .check({})
      .catch(() => {});
  });

  const server = trace.spans.find((span) => span.kind === "server");
  expect(server).toMatchObject({ failed: true, attributes: { "error.type": "UNKNOWN" } });
  expect(JSON.stringify(trace.spans)).not.toContain("hunter2");
});

test.each(protocols)("by %s, spans of a stream end when its reader goes", async (protocol) => {
  const { promise: gone, resolve } = Promise.withResolvers<void>();
  handle = {
    ...handle,
    async *watch(_request, context) {
      context.signal.addEventListener("abort", () => resolve(), { once: true });
      yield {};
      await gone;
    },
  };

  const trace = await traced(protocol, async () => {
    const reader = new AbortController();
    const read = (async () => {
      for await (const _ of createClient(Health, transports[protocol]).watch({}, { signal: reader.signal })) {
        reader.abort();
      }
    })();
    await read.catch(() => {});
  });

  const server = await receiver.waitForSpan(({ traceId, kind }) => traceId === trace.id && kind === "server");
  const client = await receiver.waitForSpan(({ traceId, kind }) => traceId === trace.id && kind === "client");
  const name = protocol === "grpc" ? "CANCELLED" : "canceled";
  expect([server, client].map((span) => span.attributes["rpc.status_code"])).toEqual([name, name]);
});

test("a statement's span says what ran, and how it failed", async () => {
  const refused = Object.assign(new Error("duplicate"), { code: "23505" });
  const trace = await traced("sql", async () => {
    await withStatementSpan("load_case", async () => {});
    await withStatementSpan("load_case find_answer", async () => {}, 2);
    await withStatementSpan("save", () => Promise.reject(refused)).catch(() => {});
    await withStatementSpan("save", () => Promise.reject(new Error("outer", { cause: refused }))).catch(
      () => {},
    );
    await withStatementSpan("save", () => Promise.reject(new TypeError("other"))).catch(() => {});
  });

  const [single, batch, ...failures] = trace.spans.filter((span) => span.kind === "client");
  expect(single).toMatchObject({
    name: "load_case",
    failed: false,
    attributes: {
      "db.system.name": "postgresql",
      "db.operation.name": "load_case",
      "db.query.summary": "load_case",
    },
  });
  expect(batch).toMatchObject({
    name: "load_case find_answer",
    attributes: { "db.operation.name": "BATCH", "db.operation.batch.size": 2 },
  });
  expect(failures.map((span) => [span.failed, span.attributes["error.type"]])).toEqual([
    [true, "23505"],
    [true, "23505"],
    [true, "TypeError"],
  ]);
  expect(failures[0]?.attributes["db.response.status_code"]).toBe("23505");
});

test("a span can be given a parent from elsewhere, and links to others", async () => {
  const parent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
  const other = `00-${"c".repeat(32)}-${"d".repeat(16)}-01`;

  const seen = await withSpan("relayed", { parent, links: [other, "nonsense"] }, async () =>
    currentTraceparent(),
  );

  const span = await receiver.waitForSpan(({ name }) => name === "relayed");
  expect(span).toMatchObject({ traceId: "a".repeat(32), parentSpanId: "b".repeat(16) });
  expect(span.links).toEqual([{ traceId: "c".repeat(32), spanId: "d".repeat(16) }]);
  expect(seen).toBe(`00-${span.traceId}-${span.spanId}-01`);
});

test.each([
  "",
  "nonsense",
  `00-${"0".repeat(32)}-${"b".repeat(16)}-01`,
  `00-${"a".repeat(32)}-${"0".repeat(16)}-01`,
  `ff-${"a".repeat(32)}-${"b".repeat(16)}-01`,
  `00-${"A".repeat(32)}-${"b".repeat(16)}-01`,
  `00-${"a".repeat(32)}-${"b".repeat(16)}-01-more`,
])("a span whose parent is said to be %j starts a trace of its own", async (parent) => {
  const seen = await withSpan("outer", {}, () =>
    withSpan(`orphan of ${parent}`, { parent }, async () => currentTraceparent()),
  );

  const span = await receiver.waitForSpan(({ name }) => name === `orphan of ${parent}`);
  expect(span.parentSpanId).toBeUndefined();
  expect(seen).toContain(span.traceId);
});

interface Trace {
  readonly id: string;
  readonly spans: readonly ReceivedSpan[];
  /** Every span under its parent, in the order they ended in on their level. */
  tree(): readonly string[];
}

/** Runs `fn` inside a span, and collects the trace once that and its calls' spans have arrived. */
async function traced(label: string, fn: () => Promise<void>): Promise<Trace> {
  let id = "";
  await withSpan(`root ${label}`, {}, async (span) => {
    id = span.spanContext().traceId;
    await fn();
  });
  const complete = () => {
    const spans = receiver.spans().filter((span) => span.traceId === id);
    const open = spans.filter(
      ({ parentSpanId }) => parentSpanId && !spans.some((s) => s.spanId === parentSpanId),
    );
    const clients = spans.filter((span) => span.kind === "client" && "rpc.method" in span.attributes).length;
    const servers = spans.filter((span) => span.kind === "server").length;
    expect({
      open,
      missing: clients - servers,
      root: spans.some(({ name }) => name === `root ${label}`),
    }).toEqual({
      open: [],
      missing: 0,
      root: true,
    });
    return spans;
  };
  const spans = await vi.waitFor(complete, { timeout: 5_000, interval: 10 });
  const under = (parent: string | undefined): string[] =>
    spans
      .filter((span) => span.parentSpanId === parent)
      .flatMap((span) => [
        span.parentSpanId ? `${span.kind} ${span.name.replace(/^grpc\.(\w+\.)*/, "")}` : "root",
        ...under(span.spanId),
      ]);
  return { id, spans, tree: () => under(undefined) };
}
