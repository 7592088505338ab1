import { execFile } from "node:child_process";
import { createServer } from "node:net";
import { once } from "node:events";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { startOtlpReceiver } from "#test/support/otlp-receiver.ts";

const run = promisify(execFile);

/** Loaded before everything else: writes down what is loaded after it. */
const watchLoading = `data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from "node:module";
  globalThis.loaded = [];
  registerHooks({ load: (url, context, next) => (loaded.push(url), next(url, context)) });
`)}`;

/** What a service does: works inside a span, then stops. */
const program = `
  import { shutdownTelemetry } from "#libs/telemetry/sdk.ts";
  import { currentTraceparent, withSpan } from "#libs/telemetry/trace-context.ts";
  const traceparent = await withSpan("work", {}, async () => currentTraceparent());
  const started = performance.now();
  await shutdownTelemetry(300);
  const stopMs = performance.now() - started;
  await shutdownTelemetry(300);
  console.log(JSON.stringify({ traceparent, stopMs, loaded }));
  process.exit();
`;

test("spans of a process arrive under its service name, over HTTP as JSON or protobuf", async () => {
  await using receiver = await startOtlpReceiver();

  const json = await runProgram({ ...receiver.env, OTEL_SERVICE_NAME: "worker" });
  await runProgram({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${receiver.url}/v1/traces` });

  expect(receiver.spans()).toMatchObject([{ name: "work", service: "worker", parentSpanId: undefined }]);
  const [span] = receiver.spans();
  expect(json.traceparent).toBe(`00-${span?.traceId}-${span?.spanId}-01`);
  expect(receiver.protobufBodies().map((body) => body.includes("work"))).toEqual([true]);
});

test.each([
  ["no endpoint is set", {}],
  ["the endpoint is blank", { OTEL_EXPORTER_OTLP_ENDPOINT: " " }],
  ["the SDK is disabled", { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1", OTEL_SDK_DISABLED: "True" }],
  [
    "the exporter is none",
    { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1", OTEL_TRACES_EXPORTER: "none" },
  ],
])("when %s, nothing is traced and no SDK is loaded", async (_when, env) => {
  const { traceparent, loaded } = await runProgram(env);

  expect(traceparent).toBeUndefined();
  const packages = loaded.flatMap((url) => /@opentelemetry\/([^/]+)/.exec(url)?.[1] ?? []);
  expect([...new Set(packages)].toSorted()).toEqual(["api", "semantic-conventions"]);
});

test("a sampler that is set decides, and what it leaves out is told on as not sampled", async () => {
  await using receiver = await startOtlpReceiver();

  const { traceparent } = await runProgram({
    ...receiver.env,
    OTEL_TRACES_SAMPLER: "parentbased_always_off",
  });
  await runProgram({ ...receiver.env, OTEL_SERVICE_NAME: "sampled" });

  expect(traceparent).toMatch(/-00$/);
  expect(receiver.spans().map(({ service }) => service)).toEqual(["sampled"]);
});

test("when tracing is on, the SDK is among what is loaded", async () => {
  await using receiver = await startOtlpReceiver();

  const { loaded } = await runProgram(receiver.env);

  expect(loaded.some((url) => url.includes("@opentelemetry/sdk-node/"))).toBe(true);
});

test("a collector that never answers holds up the stop for its limit only", async () => {
  const silent = createServer(() => {}).listen(0, "127.0.0.1");
  await once(silent, "listening");
  const { port } = silent.address() as { port: number };

  const { stopMs } = await runProgram({ OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` });

  silent.close();
  expect(stopMs).toBeGreaterThan(250);
  expect(stopMs).toBeLessThan(8_000); // The exporter by itself waits for ten seconds.
});

interface Report {
  readonly traceparent: string | undefined;
  readonly stopMs: number;
  /** URLs of modules. */
  readonly loaded: readonly string[];
}

async function runProgram(env: Readonly<Record<string, string>>): Promise<Report> {
  const imports = ["--import", watchLoading, "--import", "./libs/telemetry/register.ts"];
  const args = [...imports, "--input-type=module", "--eval", program];
  const { stdout } = await run(process.execPath, args, { env: { ...env }, timeout: 20_000 });
  return JSON.parse(stdout);
}
