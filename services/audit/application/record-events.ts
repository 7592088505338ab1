/*
 * How a batch becomes part of a tenant's log, each event once, however often and in whatever company it is sent.
 *
 *   1 read     each event's bytes; what is no valid event, or of a source the caller may not speak for, is refused alone
 *   2 lock     the tenant's log: one appender at a time, so that leaf indexes have no gap and their order is commit order
 *   3 judge    against the ids, heads and size that the log has now: applied, duplicate, out of order, or rejected
 *   4 write    the applied events, the subjects' heads, the log's size, tree and filled tiles, and commit
 *
 * If this process or the connection dies before the commit, nothing happened; during it, nobody here knows, and the
 * caller is told so (OUTCOME_UNKNOWN). Either way the caller sends the batch again: what was stored is a duplicate then.
 */
import { createHash } from "node:crypto";
import { type Counter, metrics } from "@opentelemetry/api";
import type { Pool } from "pg";
import { Fault } from "#libs/fault/fault.ts";
import { reportDatabaseFaults } from "#libs/service/report-database-faults.ts";
import type { Log } from "#libs/telemetry/log.ts";
import { withStatementSpan } from "#libs/telemetry/statement-spans.ts";
import { planAppend, type Outcome } from "../domain/append.ts";
import type { Event, InvalidEvent } from "../domain/event.ts";
import type { Reason, Rejection } from "../domain/reason.ts";
import { appendEvents, type Candidate } from "../store/append-events.ts";
import { recordAppendSpans } from "./append-spans.ts";

export interface RecordRequest {
  /** Encoded events. */
  readonly events: readonly Uint8Array[];
  /** The sources that the caller may speak for. */
  readonly sources: ReadonlySet<string>;
  /** What is left of the caller's time; throws when nothing is. */
  readonly remainingMs: () => number;
  /** Aborted when the caller has gone: who waits for a connection then waits no longer. */
  readonly signal: AbortSignal;
  /** Told what the batch is about before it is stored: what could be read of it. */
  readonly onRead?: (batch: BatchFacts) => void;
}

/** What a batch can be found by in the log, and joined with the calls that made its events; each value once. */
export interface BatchFacts {
  readonly tenantIds: readonly string[];
  readonly subjects: readonly string[];
  readonly correlationIds: readonly string[];
}

export interface RecordedOutcome {
  /** Empty when the event could not be read. */
  readonly eventId: string;
  readonly outcome: Outcome;
}

/** Stores what can be stored of a batch, and tells what became of each event, in the order sent. */
export type RecordEvents = (request: RecordRequest) => Promise<readonly RecordedOutcome[]>;

export interface RecordEventsDependencies {
  readonly pool: Pool;
  readonly readEvent: (bytes: Uint8Array) => Event | InvalidEvent;
  readonly log: Log;
  /** Told that events of the tenant were appended and committed. */
  readonly onAppended?: (tenantId: string) => void;
}

/** An event that is refused before the log is asked. */
interface Refused {
  readonly eventId: string;
  readonly reason: Rejection;
  /** The field at fault, or what else it was; for the log. */
  readonly fault: string;
}

/** How a rejection is logged. Two of them mean that somebody tells another story than before: those are for waking people up. */
const levels: Readonly<Record<Rejection, "error" | "warn">> = {
  INVALID_EVENT: "warn",
  SOURCE_NOT_ALLOWED: "warn",
  EVENT_ID_REUSED: "error",
  SEQUENCE_REUSED: "error",
  CHAIN_BROKEN: "warn",
};

/** Faults: INVALID_REQUEST when the batch is of more than one tenant, and what `reportDatabaseFaults` makes of outages. */
export function createRecordEvents(dependencies: RecordEventsDependencies): RecordEvents {
  const { readEvent, log } = dependencies;
  const rejections = metrics.getMeter("caseflow.audit").createCounter("caseflow.audit.rejections", {
    description:
      "Events refused for good, by reason; EVENT_ID_REUSED and SEQUENCE_REUSED are for waking people up",
  });
  for (const reason of Object.keys(levels)) rejections.add(0, { reason }); // So that a first one shows as a rise.
  return async ({ events, sources, onRead, ...time }) => {
    const entries = events.map((bytes) => admit(bytes, readEvent(bytes), sources));
    const candidates = entries.filter((entry) => "digest" in entry);
    onRead?.(factsOf(candidates));
    const judged = (await append(dependencies, candidates, time)).values();

    return entries.map((entry) => {
      const outcome: Outcome | undefined =
        "digest" in entry ? judged.next().value : { kind: "rejected", reason: entry.reason };
      if (!outcome) throw new Error("unreachable: every candidate is judged");
      if (outcome.kind === "rejected") reportRejection(log, rejections, entry, outcome.reason);
      return { eventId: entry.eventId, outcome };
    });
  };
}

function factsOf(candidates: readonly Candidate[]): BatchFacts {
  const each = (read: (event: Event) => string) => [...new Set(candidates.map(({ event }) => read(event)))];
  return {
    tenantIds: each(({ tenantId }) => tenantId),
    subjects: each(({ subject }) => subject),
    correlationIds: each(({ correlationId }) => correlationId).filter((id) => id !== ""),
  };
}

function admit(
  bytes: Uint8Array,
  event: Event | InvalidEvent,
  sources: ReadonlySet<string>,
): Candidate | Refused {
  if ("fault" in event) return { ...event, reason: "INVALID_EVENT" };
  const { eventId, source, subject, sequence, previousDigest, originalDigest } = event;
  if (!sources.has(source)) return { eventId, reason: "SOURCE_NOT_ALLOWED", fault: "source" };
  const digest = createHash("sha256").update(bytes).digest("hex");
  const linkDigest = originalDigest || digest;
  return { eventId, source, subject, sequence, previousDigest, digest, linkDigest, event, bytes };
}

/** Outcomes in the order of the candidates. */
async function append(
  { pool, onAppended }: RecordEventsDependencies,
  candidates: readonly Candidate[],
  { remainingMs, signal }: Pick<RecordRequest, "remainingMs" | "signal">,
): Promise<readonly Outcome[]> {
  const [tenantId, ...others] = new Set(candidates.map(({ event }) => event.tenantId));
  if (tenantId === undefined) return [];
  if (others.length > 0) {
    const fields = [{ field: "events", description: "must all be of one tenant" }];
    throw new Fault<Reason>("INVALID_REQUEST", {}, { fields });
  }
  const startedAt = new Date();
  const options = { tenantId, timeoutMs: remainingMs(), signal };
  const plan = await withStatementSpan("append_events", () =>
    reportDatabaseFaults(() => appendEvents(pool, options, candidates, (log) => planAppend(log, candidates))),
  );
  recordAppendSpans(startedAt, plan.appended);
  if (plan.appended.length > 0) onAppended?.(tenantId);
  return plan.outcomes;
}

function reportRejection(log: Log, rejections: Counter, entry: Candidate | Refused, reason: Rejection): void {
  rejections.add(1, { reason });
  const told = "digest" in entry ? toldOf(entry) : { event_id: entry.eventId, fault: entry.fault };
  log[levels[reason]]({ ...told, reason }, "event rejected");
}

function toldOf({ event, digest }: Candidate) {
  const { tenantId, eventId, source, subject, sequence } = event;
  return {
    tenant_id: tenantId,
    event_id: eventId,
    source,
    subject,
    subject_sequence: String(sequence),
    digest,
  };
}
