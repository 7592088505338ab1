import { expect, test } from "vitest";
import { readSpans, type ReceivedSpan } from "./support/otlp-receiver.ts";
import { startProcessPair } from "./support/process-pair.ts";
import { openCaseInSpan } from "./support/traced-caller.ts";

/*
 * With a Jaeger v2 at hand: `JAEGER_URL=http://127.0.0.1:16686`, the base of its query API. Spans go to port 4318 of the same host, where
 * Jaeger takes OTLP over HTTP unless it is set otherwise; `OTEL_EXPORTER_OTLP_ENDPOINT` names another place. `jaeger` without
 * arguments is all that it takes.
 */
const jaegerUrl = process.env["JAEGER_URL"];
const otlpUrl = process.env["OTEL_EXPORTER_OTLP_ENDPOINT"] ?? otlpOf(jaegerUrl);

function otlpOf(url: string | undefined): string {
  const { hostname } = new URL(url ?? "http://127.0.0.1");
  return `http://${hostname}:4318`;
}

test.skipIf(jaegerUrl === undefined)(
  "the Jaeger that JAEGER_URL names shows one trace from the caller to the append in the audit service",
  async () => {
    const env = {
      OTEL_EXPORTER_OTLP_ENDPOINT: otlpUrl,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf",
      OTEL_BSP_SCHEDULE_DELAY: "50",
      OTEL_METRICS_EXPORTER: "none",
    };
    await using pair = await startProcessPair(env);

    const traceId = await openCaseInSpan(pair, env);

    const look = async () => pathTo("append event", await spansOf(traceId));
    await expect
      .poll(look, { timeout: 30_000, interval: 250 })
      .toEqual([
        "caller internal open a case",
        "caller client caseflow.cases.v1.CaseService/CreateCase",
        "case server caseflow.cases.v1.CaseService/CreateCase",
        "audit internal append event",
      ]);
    const names = (await spansOf(traceId)).map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(["wait in outbox", "deliver event"]));
    expect(names).toContainEqual(expect.stringContaining("save_new_case"));
  },
);

/** As the query API gives them; none while the trace is not there yet. */
async function spansOf(traceId: string): Promise<readonly ReceivedSpan[]> {
  const response = await fetch(`${jaegerUrl}/api/v3/traces/${traceId}`);
  if (response.status === 404) return [];
  expect(response.status).toBe(200);
  const { result }: { result: Parameters<typeof readSpans>[0] } = (await response.json()) as never; // `TracesData` of OTLP.
  return readSpans(result);
}

/** The spans from the root on that lead to the span of this name. */
function pathTo(name: string, spans: readonly ReceivedSpan[]): readonly string[] {
  const path: string[] = [];
  let span = spans.find((candidate) => candidate.name === name);
  while (span) {
    path.unshift(`${span.service} ${span.kind} ${span.name}`);
    const { parentSpanId } = span;
    span = spans.find(({ spanId }) => spanId === parentSpanId);
  }
  return path;
}
