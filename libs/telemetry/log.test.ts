import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test, vi } from "vitest";
import { startTelemetry } from "./sdk.ts";
import { createLog, type Log } from "./log.ts";
import { withSpan } from "./trace-context.ts";

const run = promisify(execFile);
const nowhere = "http://127.0.0.1:1";

test("a line is one JSON object with time, level, service and version", () => {
  const { log, lines } = createTestLog();

  log.warn({ caseId: "c-1" }, "slow");
  log.debug("not at this level");

  expect(lines()).toEqual([
    {
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      level: "warn",
      service: "test",
      version: "1.2.3",
      commit: "abc",
      caseId: "c-1",
      msg: "slow",
    },
  ]);
});

test("a line inside a span names trace and span, one outside does not", async () => {
  vi.stubEnv("OTEL_EXPORTER_OTLP_ENDPOINT", nowhere);
  await startTelemetry({ OTEL_EXPORTER_OTLP_ENDPOINT: nowhere });
  const { log, lines } = createTestLog();

  const ids = await withSpan("work", {}, async (span) => {
    log.info("inside");
    return span.spanContext();
  });
  log.info("outside");

  const [inside, outside] = lines();
  expect(inside).toMatchObject({ trace_id: ids.traceId, span_id: ids.spanId });
  expect(Object.keys(outside ?? {})).not.toContain("trace_id");
});

const pem = "-----BEGIN PRIVATE KEY-----";
const jwt = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJodW50ZXIyIn0.c2lnbmF0dXJl_-";

test.each<[string, (log: Log) => void]>([
  ["a property at the top", (log) => log.info({ token: "hunter2", password: "hunter2", secret: "hunter2" })],
  ["a header", (log) => log.info({ request: { headers: { authorization: "hunter2", cookie: "hunter2" } } })],
  ["a property with a list", (log) => log.info({ headers: { Authorization: ["a]b", "hunter2"] } })],
  ["a property with quotes and backslashes in it", (log) => log.info({ password: 'a"\\hunter2\\"hunter2' })],
  ["a property far down", (log) => log.info({ a: { b: { c: [{ token: "hunter2" }] } } })],
  ["a URL's credentials", (log) => log.info({ databaseUrl: "postgresql://me:hunter2@host:5432/db?x=1" })],
  ["a URL in a message", (log) => log.error("cannot reach https://me:hunter2@host/path")],
  ["a URL in an error", (log) => log.error(new Error("no: postgres://me:hunter2@%2Frun/db"), "failed")],
  ["the cause of an error", (log) => log.error(new Error("no", { cause: new Error("http://a:hunter2@b") }))],
  ["a bearer token in a message", (log) => log.info("sent Authorization: Bearer hunter2.abc")],
  ["a password with an @ in it", (log) => log.info("postgres://me:p@hunter2@host/db")],
  ["a private key", (log) => log.info(`${pem}\nhunter2\n-----END PRIVATE KEY-----`)],
  ["a child's property", (log) => log.child({ token: "hunter2" }).info("x")],
])("%s that is secret does not reach the log", (_what, write) => {
  const { log, lines } = createTestLog();

  write(log);

  expect(JSON.stringify(lines())).not.toContain("hunter2");
  expect(JSON.stringify(lines())).toContain("[redacted]");
});

test("a JWT does not reach the log, wherever it stands", () => {
  const { log, text } = createTestLog();

  log.info({ details: [`token was ${jwt}`] }, `got ${jwt}`);

  expect(text()).not.toContain("eyJ");
  expect(text()).toContain("got [redacted]");
});

const refused = Object.assign(new Error('new row for relation "cases" violates check constraint "some"'), {
  code: "23514",
  detail: "Failing row contains (hunter2).",
  where: "unnamed portal parameter $1 = 'hunter2'",
  table: "cases",
  constraint: "some",
});

test.each<[string, () => unknown]>([
  ["a row in the details of PostgreSQL's error", () => refused],
  ["the same as a cause", () => new Error("no", { cause: refused })],
  [
    "a value in PostgreSQL's words",
    () => failedWith("22P02", 'invalid input syntax for type uuid: "hunter2"'),
  ],
  [
    "a value with quotes in it, in PostgreSQL's words",
    () => failedWith("22P02", 'invalid input syntax for type json: "Plan "hunter2" ext"'),
  ],
  ["a value with a quote and a line break in it", () => new Error('not allowed: "a\nb" hunter2')],
  [
    "a value in single quotes, in Node's words",
    () => thrownBy(() => Buffer.from("a").readInt8("hunter2" as unknown as number)),
  ],
  [
    "a value with quotes of both kinds, in Node's words",
    () => thrownBy(() => Buffer.from("a").readInt8(`it's "hunter2"` as unknown as number)),
  ],
  [
    "a value in the words of an error with a code like a SQLSTATE",
    () => failedWith("EPERM", "open 'hunter2'"),
  ],
  ["what was to be parsed as JSON", () => thrownBy(() => JSON.parse("hunter2"))],
  ["what was to be a number", () => thrownBy(() => BigInt("hunter2"))],
  ["a header that is none", () => thrownBy(() => new Headers({ a: "hunter2\nx" }))],
  [
    "a header in a message that was cut off",
    () => new Error(`${"x".repeat(980)} "hunter2${"x".repeat(99)}"`),
  ],
  ["what was to be a URL", () => thrownBy(() => new URL("//hunter2"))],
  ["one of several errors", () => new AggregateError([thrownBy(() => JSON.parse("hunter2"))])],
  ["a property of an error", () => Object.assign(new Error("no"), { request: { title: "hunter2" } })],
  ["the lines of a message that look like calls", () => new TypeError('"a\n    at hunter2 (b)"')],
  ["a name made up", () => Object.assign(new Error("no"), { name: "x hunter2" })],
  ["a thrown text", () => "hunter2"],
])("%s is not in what a log tells of an error", (_what, make) => {
  const { log, text } = createTestLog();
  const error = make();

  log.error({ err: error }, "failed");
  if (error instanceof Error) {
    log.error({ err: error });
    log.error(error);
  }

  expect(text()).toMatch(/"err":\{"type":/);
  expect(text()).not.toContain("hunter2");
});

test("an apostrophe in a word hides nothing of an error's words", () => {
  const { log, lines } = createTestLog();

  log.error({ err: new Error("the relay's lock wasn't had") }, "failed");

  expect(lines()).toMatchObject([{ err: { message: "the relay's lock wasn't had" } }]);
});

test("an error is told with its kind, its words, its calls and its cause, and PostgreSQL's with the names in it", () => {
  const { log, lines } = createTestLog();

  log.error({ err: new Error("the case could not be read", { cause: refused }) }, "failed");

  expect(lines()).toMatchObject([
    {
      err: {
        type: "Error",
        message: "the case could not be read",
        stack: expect.stringMatching(/^at .*log\.test\.ts.*:\d+/),
        cause: { code: "23514", table: "cases", constraint: "some", message: refused.message },
      },
    },
  ]);
});

function failedWith(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

function thrownBy(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return error;
  }
}

test("what only resembles a secret stays", () => {
  const { log, lines } = createTestLog();

  log.info({ url: "http://127.0.0.1:7080/x@y", at: "a:b@c", tokens: 3 }, "see https://example.com:443/a");

  expect(lines()).toMatchObject([
    { url: "http://127.0.0.1:7080/x@y", at: "a:b@c", tokens: 3, msg: "see https://example.com:443/a" },
  ]);
});

test.each([
  ["ends", ""],
  ["exits at once", "process.exit(0);"],
  ["crashes", "setImmediate(() => { throw new Error('crash'); });"],
])("a process that %s has written every line", async (_how, ending) => {
  const program = `
    import { createLog } from "#libs/telemetry/log.ts";
    const log = createLog({ service: "test", version: "1", level: "info", commit: "1" });
    for (let n = 0; n < 5000; n++) log.info({ n }, "line");
    ${ending}
  `;

  const args = ["--input-type=module", "--eval", program];
  const { stdout } = await run(process.execPath, args, { timeout: 20_000, maxBuffer: 2 ** 24 }).catch(
    (error: { stdout: string }) => error,
  );

  const numbers = stdout
    .trim()
    .split("\n")
    .map((line): number => JSON.parse(line).n)
    // A write that was under way when the process crashed may end after the flush: each line is whole and there once, and
    // carries its own time, but they are not in order.
    .toSorted((a, b) => a - b);
  expect(numbers).toEqual(Array.from({ length: 5000 }, (_, n) => n));
});

function createTestLog(): { log: Log; text: () => string; lines: () => Record<string, unknown>[] } {
  const written: string[] = [];
  const destination = { write: (line: string) => void written.push(line) };
  return {
    log: createLog({ service: "test", version: "1.2.3", commit: "abc", level: "info", destination }),
    text: () => written.join(""),
    lines: () => written.map((line) => JSON.parse(line)),
  };
}
