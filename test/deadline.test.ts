import { randomUUID } from "node:crypto";
import { Code, ConnectError } from "@connectrpc/connect";
import { afterAll, beforeAll, test } from "vitest";
import { Health } from "#libs/gen/grpc/health/v1/health_pb.ts";
import { onwardCall } from "#libs/rpc/onward-call.ts";
import { connectForTest, serveForTest } from "#libs/rpc/serve-for-test.ts";
import { content, openCase } from "./support/case-service.ts";
import { makeEvent } from "./support/events.ts";
import { startPair, type Pair } from "./support/pair.ts";
import { openSuperuser } from "./support/superuser.ts";

/** Only these sleep, for longer than any test. */
const sleepyFunctions = `
  CREATE FUNCTION sleep_a_minute() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN true; END';
  CREATE FUNCTION sleep_and_go_on() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END'`;
const sleepyInsert = (table: string): string =>
  `CREATE TRIGGER sleepy BEFORE INSERT ON ${table} FOR EACH ROW EXECUTE FUNCTION sleep_and_go_on()`;
const sleepySelect = (table: string): string =>
  `CREATE POLICY sleepy ON ${table} AS RESTRICTIVE FOR SELECT USING (sleep_a_minute())`;

interface Call {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

async function createCase({ cases }: Pair, options: Call): Promise<unknown> {
  return (await cases.as("caseworker")).createCase(
    { requestId: randomUUID(), caseType: "permit", content },
    options,
  );
}

/** By way of another service, which is given the time and passes on what is left of it. */
async function createCaseFromElsewhere(pair: Pair, { timeoutMs }: Call): Promise<unknown> {
  await using hop = await serveForTest({
    routes: (router) =>
      router.service(Health, {
        check: async (_, context) => {
          await createCase(pair, onwardCall(context));
          return {};
        },
      }),
  });
  using caller = connectForTest(hop.url);
  return await caller.health.check({}, timeoutMs === undefined ? {} : { timeoutMs });
}

async function readCase({ cases }: Pair, options: Call): Promise<unknown> {
  return (await cases.as("auditor")).listCases({}, options);
}

async function appendEvent({ audit }: Pair, options: Call): Promise<unknown> {
  return (await audit.source()).recordEvents({ events: [makeEvent().bytes] }, options);
}

async function readEvents({ audit }: Pair, options: Call): Promise<unknown> {
  return (await audit.auditor()).listEvents({}, options);
}

async function codeOf(call: Promise<unknown>): Promise<Code | undefined> {
  return await call.then(
    () => undefined,
    (error: unknown) => ConnectError.from(error).code,
  );
}

const callers: readonly [
  what: string,
  service: "cases" | "audit",
  sleepy: string,
  call: typeof createCase,
][] = [
  ["a write of the case service", "cases", sleepyInsert("cases"), createCase],
  ["the same by way of another service", "cases", sleepyInsert("cases"), createCaseFromElsewhere],
  ["a read of the case service", "cases", sleepySelect("cases"), readCase],
  ["an append's wait for its log", "audit", sleepyInsert("logs"), appendEvent],
  ["an append's own write", "audit", sleepyInsert("events"), appendEvent],
  ["a read of the audit service", "audit", sleepySelect("events"), readEvents],
];

const stack = new AsyncDisposableStack();
let pairs: ReadonlyMap<string, Pair>;

beforeAll(async () => {
  const started = callers.map(
    async ([what]) => [what, stack.use(await startPair({ relay: "off" }))] as const,
  );
  pairs = new Map(await Promise.all(started));
});
afterAll(() => stack.disposeAsync());

// At the same time, each with services and databases of its own: nearly all of a test is its caller's time.
test.concurrent.for(callers)(
  "a caller's deadline ends a statement that sleeps in the database: %s",
  async ([what, service, sleepy, call], { expect }) => {
    const pair = pairs.get(what)!;
    await using database = await openSuperuser(pair[service].database.superuserUrl);
    await openCase(pair.cases);
    await appendEvent(pair, {});
    await database.query(`${sleepyFunctions}; ${sleepy}`);
    // The signer reads on its own account.
    const asleep = `SELECT FROM pg_stat_activity
      WHERE datname = current_database() AND wait_event = 'PgSleep' AND usename IN ('case_app', 'audit_app')`;
    const sleeping = async (): Promise<number | null> => (await database.query(asleep)).rowCount;
    const table = service === "cases" ? "cases" : "events";
    const before = (await database.query(`SELECT FROM ${table}`)).rowCount;

    const timeoutMs = 4_000; // Enough for a busy machine to come as far as the sleep.
    const outcome = codeOf(call(pair, { timeoutMs }));
    await expect.poll(sleeping, { timeout: timeoutMs, interval: 10 }).toBe(1);
    // Whoever tells first: the caller's own clock, or the service, whose database had no more time.
    expect([Code.DeadlineExceeded, Code.Unavailable]).toContain(await outcome);

    // The services' own ceilings are 10 s, and the sleep is 60 s: only the caller's deadline comes that early.
    await expect.poll(sleeping, { timeout: 4_000, interval: 10 }).toBe(0);
    expect((await database.query(`SELECT FROM ${table}`)).rowCount).toBe(before);
  },
);
