import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";

import { keepOutput } from "./kept-output.ts";

/** A span as it arrived. */
export interface ReceivedSpan {
  readonly name: string;
  /** The `service.name` of the process that made it. */
  readonly service: string | undefined;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly kind: "internal" | "server" | "client" | "producer" | "consumer" | "unspecified";
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
  /** Since the epoch, in milliseconds. */
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  /** Whether its status is ERROR. */
  readonly failed: boolean;
}

export interface OtlpReceiver extends AsyncDisposable {
  readonly url: string;
  /** Settings that make a process send its spans here, soon after they end. */
  readonly env: Readonly<Record<string, string>>;
  /** All spans so far, in order of arrival. */
  spans(): readonly ReceivedSpan[];
  /** Names of all metrics so far, those of a service alone. Metrics are read from JSON. */
  metricNames(service: string): ReadonlySet<string>;
  /** Bodies that came as protobuf, which is not decoded here. */
  protobufBodies(): readonly Buffer[];
  /** Resolves with the first span, past or future, that `fits`; throws after `timeoutMs`, naming what did arrive. */
  waitForSpan(fits: (span: ReceivedSpan) => boolean, timeoutMs?: number): Promise<ReceivedSpan>;
}

/** Starts an OTLP receiver of traces and metrics over HTTP, on a free port of the loopback interface. */
export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const spans: ReceivedSpan[] = [];
  const protobufBodies: Buffer[] = [];
  const metricsByService = new Map<string, Set<string>>();
  const waiting = new Set<() => void>();
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const status = await receive(request, spans, metricsByService, protobufBodies);
    response.writeHead(status, { "content-type": "application/json" }).end("{}");
    for (const look of waiting) look();
  };
  const server = createServer((request, response) => void answer(request, response)).listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`; // It listens on TCP.
  return {
    url,
    env: {
      OTEL_EXPORTER_OTLP_ENDPOINT: url,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_BSP_SCHEDULE_DELAY: "50",
    },
    spans: () => spans,
    metricNames: (service) => metricsByService.get(service) ?? new Set(),
    protobufBodies: () => protobufBodies,
    waitForSpan(fits, timeoutMs = 5_000) {
      return new Promise((resolve, reject) => {
        const look = () => {
          const found = spans.find(fits);
          if (!found) return;
          waiting.delete(look);
          clearTimeout(timer);
          resolve(found);
        };
        const timer = setTimeout(() => {
          waiting.delete(look);
          const names = spans.map((span) => span.name).join(", ");
          reject(new Error(`no such span within ${timeoutMs} ms; received: ${names || "none"}`));
        }, timeoutMs);
        waiting.add(look);
        look();
      });
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function receive(
  request: IncomingMessage,
  spans: ReceivedSpan[],
  metricsByService: Map<string, Set<string>>,
  protobufBodies: Buffer[],
): Promise<number> {
  const body = await buffer(request);
  keepOutput(body.toString("latin1"));
  if (request.method !== "POST" || (request.url !== "/v1/traces" && request.url !== "/v1/metrics"))
    return 404;
  const isJson = request.headers["content-type"] === "application/json";
  if (isJson && request.url === "/v1/metrics") readMetrics(JSON.parse(body.toString()), metricsByService);
  else if (request.headers["content-type"] === "application/json")
    spans.push(...readSpans(JSON.parse(body.toString())));
  else protobufBodies.push(body);
  return 200;
}

/** `ExportMetricsServiceRequest`, as far as it is used here. */
interface MetricsRequest {
  resourceMetrics?: {
    resource?: { attributes?: KeyValue[] };
    scopeMetrics?: { metrics?: { name: string }[] }[];
  }[];
}

function readMetrics(request: MetricsRequest, byService: Map<string, Set<string>>): void {
  for (const { resource, scopeMetrics } of request.resourceMetrics ?? []) {
    const service = String(readAttributes(resource?.attributes)["service.name"]);
    const names = byService.get(service) ?? new Set();
    byService.set(service, names);
    for (const scope of scopeMetrics ?? []) for (const { name } of scope.metrics ?? []) names.add(name);
  }
}

/** `ExportTraceServiceRequest` of opentelemetry-proto 1, in its JSON form, as far as it is used here. */
interface TraceRequest {
  resourceSpans?: { resource?: { attributes?: KeyValue[] }; scopeSpans?: { spans?: JsonSpan[] }[] }[];
}

interface JsonSpan {
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  kind?: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes?: KeyValue[];
  links?: { traceId: string; spanId: string }[];
  status?: { code?: number };
}

interface KeyValue {
  key: string;
  value?: { stringValue?: string; intValue?: number | string; doubleValue?: number; boolValue?: boolean };
}

const kinds = ["unspecified", "internal", "server", "client", "producer", "consumer"] as const;
const statusError = 2;

/** Of a request to take spans, or of a trace as OTLP has it. */
export function readSpans(request: TraceRequest): ReceivedSpan[] {
  return (request.resourceSpans ?? []).flatMap(({ resource, scopeSpans }) => {
    const service = readAttributes(resource?.attributes)["service.name"];
    return (scopeSpans ?? []).flatMap((scope) =>
      (scope.spans ?? []).map((span) => ({
        name: span.name,
        service: typeof service === "string" ? service : undefined,
        traceId: span.traceId,
        spanId: span.spanId,
        parentSpanId: span.parentSpanId || undefined,
        kind: kinds[span.kind ?? 0] ?? "unspecified",
        attributes: readAttributes(span.attributes),
        links: (span.links ?? []).map(({ traceId, spanId }) => ({ traceId, spanId })),
        startedAtMs: toMs(span.startTimeUnixNano),
        endedAtMs: toMs(span.endTimeUnixNano),
        failed: span.status?.code === statusError,
      })),
    );
  });
}

/** Exact to the microsecond: as a number, nanoseconds since the epoch are rounded to a quarter of that. */
function toMs(unixNano: string): number {
  return Number(BigInt(unixNano) / 1_000n) / 1_000;
}

function readAttributes(pairs: readonly KeyValue[] = []): Record<string, unknown> {
  return Object.fromEntries(
    pairs.map(({ key, value = {} }) => {
      const { stringValue, intValue, doubleValue, boolValue } = value;
      return [key, stringValue ?? (intValue === undefined ? (doubleValue ?? boolValue) : Number(intValue))];
    }),
  );
}
