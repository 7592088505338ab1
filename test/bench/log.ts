import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { createAuditClient, type AuditClient } from "#libs/client/audit-client.ts";
import {
  DeliveryOutcome,
  type EventFilterSchema,
  type GetCheckpointResponse,
} from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { type Event, EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { defaultIssuerNames, openLocalIssuer } from "#libs/local-issuer/local-issuer.ts";
import { bareLimits } from "../support/bare-limits.ts";
import { startCaseflow } from "../support/caseflow-command.ts";
import { appealDecided } from "../support/made-cases.ts";
import { madeTenant } from "../support/made-history.ts";
import { openBenchStack } from "./bench-stack.ts";
import { quantileOf } from "./open-loop.ts";
import { reportBars, type Bar } from "./report.ts";

/** `CASEFLOW_BENCH_EVENTS`, such as 50000 for a quick look. */
const eventsWanted = Number(process.env["CASEFLOW_BENCH_EVENTS"] ?? 1_000_000);
const sendersCount = 4;
const casesPerBatch = 45; // Of 11 events each: 495 of the 500 that a batch may have.
const slices = 10;
const pagesPerQuery = 20;
const tokenSeconds = 4 * 3_600;
const sealPollMs = 200;
/** What is slow is to be seen in the figures, not to end the run. */
const callMs = 60_000;
const inLog: ReadonlySet<DeliveryOutcome> = new Set([DeliveryOutcome.APPLIED, DeliveryOutcome.DUPLICATE]);
const mebibyte = 1_024 * 1_024;

/**
 * `npm run bench -- log`: the life of a log of a million events of one tenant, on a stack of its own: append by four senders, a
 * page of each query, export and verification, with time and peak memory. Export and verification are made at a tenth of the
 * size too: their memory must not grow with the log.
 */
export async function benchLog(): Promise<boolean> {
  await using opened = new AsyncDisposableStack();
  const { stack, home } = opened.use(await openBenchStack());
  const folder = await mkdtemp(join(tmpdir(), "caseflow-bench-log-"));
  opened.defer(() => rm(folder, { recursive: true, force: true }));
  const issuer = await openLocalIssuer(home, defaultIssuerNames);
  if (!issuer) throw new Error("the stack has no issuer");
  const sourceToken = await issuer.sign(
    { subject: "bench", kind: "service", roles: ["event_source"], sources: ["caseflow/case"] },
    tokenSeconds,
  );
  const auditorToken = await issuer.sign(
    { subject: "bench", kind: "person", tenantId: madeTenant, roles: ["auditor"] },
    tokenSeconds,
  );
  const { url, pid } = stack.audit;
  // As the relay does it: what was not acknowledged is sent again.
  const sources = opened.use(createAuditClient({ url, token: sourceToken }));
  const auditor = opened.use(createAuditClient({ url, token: auditorToken, limits: bareLimits }));
  const exportAndVerify = (): Promise<Passed> => passOver(auditor, { url, token: auditorToken, pid, folder });

  const appended = await append(sources, 0, Math.ceil(eventsWanted / slices), pid);
  const small = await exportAndVerify();
  const rates = [...appended, ...(await append(sources, 1, eventsWanted, pid))];
  const pages = await queryEach(auditor);
  const large = await exportAndVerify();

  const bars: readonly Bar[] = [
    {
      name: "log append, events a second, slowest tenth",
      value: Math.round(Math.min(...rates)),
      atLeast: 1_000,
    },
    { name: "log page of 50, 100 ms / p95 of the slowest query", value: rounded(100 / pages), atLeast: 1 },
    {
      name: "log export, memory of the service at a tenth / at all events",
      value: rounded(small.servicePeakMib / large.servicePeakMib),
      atLeast: 0.7,
    },
    {
      name: "log verify, memory at a tenth / at all events",
      value: rounded(small.verifyPeakMib / large.verifyPeakMib),
      atLeast: 0.7,
    },
  ];
  return reportBars(bars);
}

/** Appends up to `until` events, tells each tenth's rate, and returns the rates in events a second. */
async function append(
  sources: AuditClient,
  from: number,
  until: number,
  pid: number,
): Promise<readonly number[]> {
  const slice = Math.ceil(eventsWanted / slices);
  const rates: number[] = [];
  for (let done = from * slice; done < until; done += slice) {
    let left = Math.min(slice, until - done);
    const startedAt = performance.now();
    let sent = 0;
    let makingMs = 0;
    const send = async (): Promise<void> => {
      while (left > 0) {
        left -= casesPerBatch * 11;
        const makingSince = performance.now();
        const events = makeBatch();
        makingMs += performance.now() - makingSince;
        const { outcomes } = await sources.recordEvents({ events }, { timeoutMs: callMs });
        if (outcomes.some(({ outcome }) => !inLog.has(outcome))) throw new Error("an event was refused");
        sent += outcomes.length;
      }
    };
    await Promise.all(Array.from({ length: sendersCount }, send));
    const seconds = (performance.now() - startedAt - makingMs) / 1_000;
    rates.push(sent / seconds);
    console.log(
      `append   ${done + sent} events, ${Math.round(sent / seconds)} a second; service at most ${await peakMib(pid)} MiB`,
    );
  }
  return rates;
}

/** Whole cases, one among the other. */
function makeBatch(): Uint8Array[] {
  const cases = Array.from({ length: casesPerBatch }, () => appealDecided().entries);
  return cases[0]!.flatMap((_, version) => cases.map((entries) => entries[version]!));
}

/** One page of each query, and again in the depth of the log; returns the slowest p95 in milliseconds. */
async function queryEach(auditor: AuditClient): Promise<number> {
  const middle = await nextPage(auditor, {}, "");
  const event: Event = fromBinary(EventSchema, middle.events[7]!.eventBytes);
  const queries: Readonly<Record<string, MessageInitShape<typeof EventFilterSchema>>> = {
    all: {},
    subject: { subject: event.subject },
    actor: { actorId: event.actor!.id },
    type: { type: "caseflow.case.closed" },
    source: { source: event.source },
    "occurred time": { occurredFrom: event.occurredAt! },
    "subject and actor": { subject: event.subject, actorId: event.actor!.id },
    "none there": { actorId: "nobody" },
  };
  let slowestMs = 0;
  for (const [name, filter] of Object.entries(queries)) {
    const tookMs: number[] = [];
    let token = "";
    for (let page = 0; page < pagesPerQuery; page++) {
      const startedAt = performance.now();
      const { nextPageToken } = await nextPage(auditor, filter, token);
      tookMs.push(performance.now() - startedAt);
      token = nextPageToken;
    }
    const sorted = tookMs.toSorted((a, b) => a - b);
    const p95 = quantileOf(sorted, 0.95);
    slowestMs = Math.max(slowestMs, p95);
    console.log(
      `page by  ${name.padEnd(18)} p50 ${quantileOf(sorted, 0.5).toFixed(1)} ms, p95 ${p95.toFixed(1)} ms`,
    );
  }
  return slowestMs;
}

function nextPage(
  auditor: AuditClient,
  filter: MessageInitShape<typeof EventFilterSchema>,
  pageToken: string,
) {
  return auditor.listEvents({ filter, pageSize: 50, pageToken }, { timeoutMs: callMs });
}

interface Target {
  readonly url: string;
  readonly token: string;
  readonly pid: number;
  readonly folder: string;
}

interface Passed {
  readonly servicePeakMib: number;
  readonly verifyPeakMib: number;
}

/** Exports the whole log with the command, and verifies the file with the command. */
async function passOver(auditor: AuditClient, { url, token, pid, folder }: Target): Promise<Passed> {
  const { verifierKeys, checkpoint } = await sealedCheckpoint(auditor);
  const file = join(folder, "log.ndjson");
  const preload = ["--import", "./test/support/print-peak-memory.ts"];
  const run = async (name: string, ...args: string[]): Promise<number> => {
    const startedAt = performance.now();
    const target = { url, auditUrl: url, token };
    const { exit, stderr } = await startCaseflow(target, args, preload).ended;
    if (exit !== 0) throw new Error(`caseflow ${args[0]} ended with ${exit}: ${stderr}`);
    const mib = Math.round(Number(/peak (\d+) KiB/.exec(stderr)?.[1]) / 1_024);
    const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
    console.log(`${name.padEnd(8)} size ${checkpoint.split("\n")[1]}: ${seconds} s, at most ${mib} MiB`);
    return mib;
  };
  await run("export", "log", "export", "--out", file);
  const servicePeakMib = await peakMib(pid);
  console.log(
    `         ${Math.round((await stat(file)).size / mebibyte)} MiB file; service at most ${servicePeakMib} MiB`,
  );
  const verifyPeakMib = await run("verify", "verify", file, "--vkey", verifierKeys[0] ?? "");
  return { servicePeakMib, verifyPeakMib };
}

/** The first checkpoint that covers all that was appended. */
async function sealedCheckpoint(auditor: AuditClient): Promise<GetCheckpointResponse> {
  for (;;) {
    const answer = await auditor.getCheckpoint({}).catch(ignoreAbsence);
    if (answer?.unsealedCount === 0n) return answer;
    await pause(sealPollMs);
  }
}

/** Before its first checkpoint a log has none. */
function ignoreAbsence(error: unknown): undefined {
  if (ConnectError.from(error).code !== Code.NotFound) throw error;
}

/** The most memory that a process has had, as the kernel tells. */
async function peakMib(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Math.round(Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) / 1_024);
}

const rounded = (value: number) => Number(value.toFixed(2));
