import type { Pool } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Fault } from "#libs/fault/fault.ts";
import { openPool } from "#libs/pg/pool.ts";
import { openSession } from "#libs/pg/session.ts";
import { createLog } from "#libs/telemetry/log.ts";
import { testSource } from "#test/support/audit-service.ts";
import { countMetrics, type CountedMetrics } from "#test/support/count-metrics.ts";
import { cloneAuditDatabase, type TestDatabase } from "#test/support/databases.ts";
import { makeChain, makeEvent, type TestEvent } from "#test/support/events.ts";
import { startPostgresProxy, type PostgresProxy } from "#test/support/postgres-proxy.ts";
import { readEvent } from "../rpc/read-event.ts";
import { createRecordEvents, type RecordEvents } from "./record-events.ts";

const stack = new AsyncDisposableStack();
let database: TestDatabase;
let proxy: PostgresProxy;
let recordEvents: RecordEvents;
let logged: Record<string, unknown>[] = [];
let counted: CountedMetrics;

beforeAll(async () => {
  database = stack.use(await cloneAuditDatabase());
  proxy = stack.use(await startPostgresProxy(database.appUrl));
  const pool: Pool = stack.use(
    openPool({
      url: proxy.unixUrl,
      max: 2,
      applicationName: "record",
      connectTimeoutMs: 5_000,
      onError: () => {}, // Told to whoever uses the connection.
    }),
  );
  const destination = { write: (line: string) => logged.push(JSON.parse(line)) };
  const log = createLog({ service: "audit", version: "test", commit: "test", level: "info", destination });
  counted = stack.use(countMetrics());
  recordEvents = createRecordEvents({ pool, readEvent, log });
});
afterAll(() => stack.disposeAsync());

const record = (events: readonly TestEvent[], timeoutMs = 10_000) =>
  recordEvents({
    events: events.map(({ bytes }) => bytes),
    sources: new Set([testSource]),
    remainingMs: () => timeoutMs,
    signal: new AbortController().signal,
  });

async function reasonOf(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "none";
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    return error.reason;
  }
}

const kindsOf = (outcomes: Awaited<ReturnType<RecordEvents>>) => outcomes.map(({ outcome }) => outcome.kind);

test("every reason of a rejection is there before anything was rejected, so that the first one shows as a rise", () => {
  const counts = Object.fromEntries(counted.counts);
  expect(counts).toEqual({
    "caseflow.audit.rejections INVALID_EVENT": 0,
    "caseflow.audit.rejections SOURCE_NOT_ALLOWED": 0,
    "caseflow.audit.rejections EVENT_ID_REUSED": 0,
    "caseflow.audit.rejections SEQUENCE_REUSED": 0,
    "caseflow.audit.rejections CHAIN_BROKEN": 0,
  });
});

test("when the answer to the commit is lost the caller is told that nobody knows, and finds out by sending again", async () => {
  const chain = makeChain(2);
  proxy.cutBefore("server", "COMMIT\0");
  expect(await reasonOf(record(chain))).toBe("OUTCOME_UNKNOWN");
  expect(kindsOf(await record(chain))).toEqual(["duplicate", "duplicate"]);
});

test("when the commit is lost on its way the caller is told that nobody knows, and sending again applies", async () => {
  const chain = makeChain(2);
  proxy.cutBefore("client", "COMMIT\0");
  expect(await reasonOf(record(chain))).toBe("OUTCOME_UNKNOWN");
  expect(kindsOf(await record(chain))).toEqual(["applied", "applied"]);
});

test("when the connection is lost before anything was written the caller is told just that", async () => {
  const event = makeEvent();
  await record([makeEvent()]);
  proxy.cutBefore("client", "BEGIN ISOLATION");
  expect(await reasonOf(record([event]))).toBe("DEPENDENCY_DOWN");
  expect(kindsOf(await record([event]))).toEqual(["applied"]);
});

test("the wait for another appender ends with the caller's time, and nothing is stored", async () => {
  const event = makeEvent();
  await record([makeEvent()]);
  {
    await using holder = await openSession({
      url: database.superuserUrl,
      applicationName: "test",
      connectTimeoutMs: 5_000,
      onError: () => {}, // Its query fails with it.
    });
    await holder.query("BEGIN");
    await holder.query("SELECT FROM logs FOR UPDATE");
    expect(await reasonOf(record([event], 150))).toBe("OVERLOADED");
  }
  expect(kindsOf(await record([event]))).toEqual(["applied"]);
});

test("a rejection is counted by its reason and logged, as an error when somebody tells another story than before", async () => {
  const [first, second] = makeChain(2) as [TestEvent, TestEvent];
  await record([first]);
  logged = [];
  counted.counts.clear();
  const { subject } = first;

  await record([
    makeEvent({ subject, eventId: first.eventId, type: "test.thing.else" }),
    makeEvent({ subject }),
    makeEvent({ subject, subjectSequence: 2n }),
    makeEvent({ type: "" }),
    second,
  ]);

  expect(logged.map(({ level, msg, reason }) => [level, msg, reason])).toEqual([
    ["error", "event rejected", "EVENT_ID_REUSED"],
    ["error", "event rejected", "SEQUENCE_REUSED"],
    ["warn", "event rejected", "CHAIN_BROKEN"],
    ["warn", "event rejected", "INVALID_EVENT"],
  ]);
  expect(Object.fromEntries(counted.counts)).toEqual({
    "caseflow.audit.rejections EVENT_ID_REUSED": 1,
    "caseflow.audit.rejections SEQUENCE_REUSED": 1,
    "caseflow.audit.rejections CHAIN_BROKEN": 1,
    "caseflow.audit.rejections INVALID_EVENT": 1,
  });
});
