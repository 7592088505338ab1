import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { createAuditClient } from "#libs/client/audit-client.ts";
import { openSession } from "#libs/pg/session.ts";
import { testSource } from "./support/audit-service.ts";
import { cloneAuditDatabase, type TestDatabase } from "./support/databases.ts";
import { makeEvent } from "./support/events.ts";
import { keepOutput } from "./support/kept-output.ts";
import { startOtlpReceiver } from "./support/otlp-receiver.ts";
import { processEnv } from "./support/process-env.ts";
import { refusalOf } from "./support/reason-of.ts";
import { createIssuer, type Issuer } from "./support/tokens.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const stack = new AsyncDisposableStack();
let database: TestDatabase;
let issuer: Issuer;
beforeAll(async () => {
  database = stack.use(await cloneAuditDatabase());
  issuer = stack.use(await createIssuer());
});
afterAll(() => stack.disposeAsync());

const settings = () => ({
  AUDIT_PORT: "0",
  AUDIT_METRICS_PORT: "0",
  AUDIT_DATABASE_URL: database.appUrl,
  CASEFLOW_JWKS: issuer.jwks,
  CASEFLOW_JWT_ISSUER: issuer.issuer,
  CASEFLOW_JWT_AUDIENCE: issuer.audience,
});

/** Runs the service as a process; disposing kills it. */
function run(env: Readonly<Record<string, string>>) {
  const args = ["--import", "./libs/telemetry/register.ts", "services/audit/main.ts"];
  const child = spawn(process.execPath, args, {
    cwd: root,
    env: { ...processEnv, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const exited: Promise<[number | null, NodeJS.Signals | null]> = once(child, "exit") as never; // As Node documents it.
  const lines: Record<string, unknown>[] = [];
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    keepOutput(text);
    stderr += text;
  });
  createInterface(child.stdout).on("line", (line) => {
    keepOutput(line);
    lines.push(JSON.parse(line));
  });
  return {
    child,
    exited,
    stderr: () => stderr,
    /** Waits for the log line with this message. */
    said: (msg: string) =>
      vi.waitFor(
        () => {
          const line = lines.find((candidate) => candidate["msg"] === msg);
          if (!line) throw new Error(`no line "${msg}"; stderr: ${stderr}`);
          return line;
        },
        { timeout: 15_000, interval: 20 },
      ),
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      if (child.exitCode === null && child.signalCode === null) await exited;
    },
  };
}

async function connect(url: unknown) {
  const token = await issuer.token({ sub: "relay", roles: ["event_source"], sources: [testSource] });
  return createAuditClient({ url: String(url), token, limits: { defaultTimeoutMs: 20_000 } });
}

/** Holds the lock of the tenant's log, so that appends wait, until disposed. */
async function holdLog() {
  const session = await openSession({
    url: database.superuserUrl,
    applicationName: "test",
    connectTimeoutMs: 5_000,
    onError: () => {},
  });
  await session.query("BEGIN");
  await session.query("SELECT FROM logs FOR UPDATE");
  return session;
}

test("SIGTERM lets calls under way finish, takes no more, and ends with 0", async () => {
  await using audit = run(settings());
  const { url, metricsUrl } = await audit.said("listening");
  expect(await (await fetch(`${String(metricsUrl)}/version`)).json()).toMatchObject({
    node: process.versions.node,
  });
  await using source = await connect(url);
  await source.recordEvents({ events: [makeEvent().bytes] });

  let waiting;
  {
    await using _lock = await holdLog();
    waiting = source.recordEvents({ events: [makeEvent().bytes] });
    await untilSomebodyWaits();
    audit.child.kill("SIGTERM");
    await audit.said("stopping");
  }
  expect((await waiting).outcomes).toMatchObject([{ reason: "", leafIndex: 1n }]);
  expect(await audit.exited).toEqual([0, null]);
  await using late = await connect(url);
  expect(await refusalOf(late.recordEvents({ events: [makeEvent().bytes] }))).toMatch(/^Unavailable/);
});

test.each([
  ["SIGTERM", 143],
  ["SIGINT", 130],
] as const)("a second signal, %s, ends it at once with %i", async (signal, code) => {
  await using audit = run({ ...settings(), CASEFLOW_DRAIN_MS: "60000" });
  const { url } = await audit.said("listening");
  await using source = await connect(url);
  await source.recordEvents({ events: [makeEvent().bytes] });
  await using _lock = await holdLog();
  const waiting = refusalOf(source.recordEvents({ events: [makeEvent().bytes] }));
  await untilSomebodyWaits();

  audit.child.kill(signal);
  await audit.said("stopping");
  audit.child.kill(signal);

  expect(await audit.exited).toEqual([code, null]);
  expect(await waiting).not.toBe("accepted");
});

test("all faults of the settings are told together, and it ends with 1", async () => {
  await using audit = run({ AUDIT_PORT: "x", AUDIT_DATABASE_URL: "mysql://a:secret@b/c" });
  expect(await audit.exited).toEqual([1, null]);
  for (const name of ["AUDIT_PORT", "AUDIT_DATABASE_URL", "CASEFLOW_JWKS", "CASEFLOW_JWT_ISSUER"]) {
    expect(audit.stderr()).toContain(`${name}: `);
  }
  expect(audit.stderr()).not.toContain("secret");
});

test("an append shows in the trace of the call that made the event, and names the delivery", async () => {
  await using receiver = await startOtlpReceiver();
  await using audit = run({ ...settings(), ...receiver.env });
  const { url } = await audit.said("listening");
  await using source = await connect(url);
  const [traceId, spanId] = ["4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"];
  const event = makeEvent({ traceparent: `00-${traceId}-${spanId}-01` });
  const untraced = makeEvent({ traceparent: "nonsense" });

  await source.recordEvents({ events: [event.bytes, untraced.bytes] });

  const named = (eventId: string) =>
    receiver.waitForSpan(
      ({ name, attributes }) => name === "append event" && attributes["caseflow.event.id"] === eventId,
    );
  const append = await named(event.eventId);
  const delivery = await receiver.waitForSpan(
    ({ name }) => name === "caseflow.audit.v1.AuditService/RecordEvents",
  );
  expect(append).toMatchObject({ traceId, parentSpanId: spanId, failed: false });
  expect(append.links).toEqual([{ traceId: delivery.traceId, spanId: delivery.spanId }]);
  const sql = await receiver.waitForSpan(({ name }) => name === "append_events");
  expect(sql).toMatchObject({ traceId: delivery.traceId, parentSpanId: delivery.spanId, kind: "client" });
  expect((await named(untraced.eventId)).parentSpanId).toBeUndefined();
});

/** An append waits for the lock of its log. */
async function untilSomebodyWaits(): Promise<void> {
  const session = await openSession({
    url: database.superuserUrl,
    applicationName: "test",
    connectTimeoutMs: 5_000,
    onError: () => {},
  });
  await using _session = session;
  await vi.waitFor(
    async () => {
      const { rowCount } = await session.query(
        "SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'",
        [database.name],
      );
      if (rowCount === 0) throw new Error("nobody waits for the lock");
    },
    { timeout: 10_000, interval: 10 },
  );
}
