import {
  type Attributes,
  type Context,
  context,
  isSpanContextValid,
  type Link,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
} from "@opentelemetry/api";
import { ATTR_ERROR_TYPE } from "@opentelemetry/semantic-conventions";

const tracer = trace.getTracer("caller");
const traceparentPattern = /^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-|$)/;

/** The active span as a W3C `traceparent` of version 00; `undefined` without one, and when tracing is off. */
export function currentTraceparent(): string | undefined {
  const active = trace.getActiveSpan()?.spanContext();
  if (!active || !isSpanContextValid(active)) return undefined;
  return `00-${active.traceId}-${active.spanId}-${active.traceFlags.toString(16).padStart(2, "0")}`;
}

/** A context whose span is the one `traceparent` names; the root context when it is not a traceparent. */
export function contextOf(traceparent: string): Context {
  const spanContext = readTraceparent(traceparent);
  return spanContext ? trace.setSpanContext(ROOT_CONTEXT, spanContext) : ROOT_CONTEXT;
}

/** Whether the span that `traceparent` names is recorded; false when it is not a traceparent. */
export function isSampled(traceparent: string): boolean {
  return ((readTraceparent(traceparent)?.traceFlags ?? 0) & TraceFlags.SAMPLED) !== 0;
}

export interface SpanOptions {
  /** The parent's traceparent. Absent: the active span. Not a traceparent: the span starts a trace of its own. */
  readonly parent?: string;
  /** Traceparents of other spans that led to this one; what is not one is left out. */
  readonly links?: readonly string[];
  readonly kind?: SpanKind;
  readonly attributes?: Attributes;
}

/** Runs `fn` inside a new span, which ends with it. A failure marks the span and is thrown on. */
export function withSpan<T>(name: string, options: SpanOptions, fn: (span: Span) => Promise<T>): Promise<T> {
  return tracer.startActiveSpan(name, toSettings(options), parentOf(options), async (span) => {
    try {
      return await fn(span);
    } catch (error) {
      span.setAttribute(ATTR_ERROR_TYPE, error instanceof Error ? error.name : "_OTHER");
      span.setStatus({ code: SpanStatusCode.ERROR });
      throw error;
    } finally {
      span.end();
    }
  });
}

/** Adds a span about what is over: it lasted from `startedAt` until `endedAt`, or until now. */
export function recordSpan(name: string, startedAt: Date, options: SpanOptions, endedAt?: Date): void {
  tracer.startSpan(name, { ...toSettings(options), startTime: startedAt }, parentOf(options)).end(endedAt);
}

function parentOf({ parent }: SpanOptions): Context {
  return parent === undefined ? context.active() : contextOf(parent);
}

function toSettings({ kind = SpanKind.INTERNAL, attributes = {}, links = [] }: SpanOptions) {
  return { kind, attributes, links: links.flatMap(toLink) };
}

function toLink(traceparent: string): Link[] {
  const spanContext = readTraceparent(traceparent);
  return spanContext ? [{ context: spanContext }] : [];
}

/** Reads a `traceparent` header (W3C Trace Context 1, section 3.2); a later version's additions are passed over. */
function readTraceparent(traceparent: string): SpanContext | undefined {
  const [, traceId = "", spanId = "", flags = "", rest] = traceparentPattern.exec(traceparent) ?? [];
  if (rest === "-" && traceparent.startsWith("00")) return undefined;
  const spanContext = { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
  return isSpanContextValid(spanContext) ? spanContext : undefined;
}
