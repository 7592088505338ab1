import { readFile, readlink } from "node:fs/promises";
import type { ClientHttp2Session } from "node:http2";
import { setTimeout as pause } from "node:timers/promises";
import { answerGraceMs } from "#libs/pg/tenant-transaction.ts";
import { processesIn } from "#libs/postgres-server/processes-in.ts";
import { exchangeHttp2, openHttp2 } from "../support/raw-http.ts";
import { openBenchStack } from "./bench-stack.ts";
import { reportBars } from "./report.ts";

/** Calls at once while the database is frozen, and their deadline, which the service alone keeps. */
const calls = { connections: 10, each: 60, deadlineMs: 2_000 };
const rounds = 5;
const recoveryMs = 5_000;
const memoryMiB = 256;
const sampleMs = 20;

/**
 * `npm run bench -- brownout`: PostgreSQL is frozen with all its processes while 600 calls come in; how long until the last
 * of them is answered, how long after the thaw until one succeeds, and what memory the service took for it at most.
 */
export async function benchBrownout(): Promise<boolean> {
  await using opened = new AsyncDisposableStack();
  const { stack } = opened.use(await openBenchStack());
  const { url, pid } = stack.case;
  const token = stack.tokens.caseworker ?? "";
  const postgres = stack.postgres.pid ?? 0;
  const sessions = Array.from({ length: calls.connections }, () => opened.use(openHttp2(url)).http2);
  const read = (session: ClientHttp2Session) => readCases(session, token);
  for (const session of sessions) await read(session);

  const answered: number[] = [];
  const recovered: number[] = [];
  const grown: number[] = [];
  for (let round = 1; round <= rounds; round++) {
    const memory = watchMemory(pid);
    const data = await readlink(`/proc/${postgres}/cwd`);
    const startedAt = performance.now();
    let statuses: number[];
    process.kill(postgres, "SIGSTOP"); // First, lest it starts others.
    try {
      await signalAll(data, "SIGSTOP");
      statuses = await Promise.all(
        sessions.flatMap((session) => Array.from({ length: calls.each }, () => read(session))),
      );
      answered.push(performance.now() - startedAt);
    } finally {
      await signalAll(data, "SIGCONT");
    }
    const thawedAt = performance.now();
    while ((await read(sessions[0]!)) !== 200) await pause(sampleMs);
    recovered.push(performance.now() - thawedAt);
    grown.push(await memory.stop());
    const counts = Object.entries(Object.groupBy(statuses, String)).map(
      ([status, all]) => `${all?.length} × HTTP ${status}`,
    );
    console.log(
      `round ${round}: all answered after ${answered.at(-1)?.toFixed(0)} ms (${counts.join(", ")}), recovered after ${recovered.at(-1)?.toFixed(0)} ms, memory grew by ${grown.at(-1)?.toFixed(0)} MiB`,
    );
  }
  return reportBars([
    {
      name: "brownout deadline and grace / last answer of a frozen database's calls",
      value: rounded((calls.deadlineMs + answerGraceMs) / medianOf(answered)),
      atLeast: 0.25,
    },
    {
      name: "brownout 5 s / time until calls succeed again",
      value: rounded(recoveryMs / medianOf(recovered)),
      atLeast: 1,
    },
    {
      name: "brownout 256 MiB / memory that the service grew by at most",
      value: rounded(memoryMiB / Math.max(...grown, 1)),
      atLeast: 1,
    },
  ]);
}

/** Answers with the HTTP status. */
async function readCases(session: ClientHttp2Session, token: string): Promise<number> {
  const { status } = await exchangeHttp2(session, {
    path: "/caseflow.cases.v1.CaseService/ListCases",
    headers: {
      "content-type": "application/json",
      authorization: `Bearer ${token}`,
      "connect-timeout-ms": String(calls.deadlineMs),
    },
    body: Buffer.from("{}"),
  });
  return status;
}

async function signalAll(folder: string, signal: NodeJS.Signals): Promise<void> {
  for (const pid of await processesIn(folder)) process.kill(pid, signal);
}

/** Looks at the memory of a process now and then; `stop` gives by how much it was above the first look at most, in MiB. */
function watchMemory(pid: number): { stop(): Promise<number> } {
  const stopping = new AbortController();
  const run = async (): Promise<number> => {
    const first = await residentMiB(pid);
    let most = first;
    while (!stopping.signal.aborted) {
      most = Math.max(most, await residentMiB(pid));
      await pause(sampleMs);
    }
    return most - first;
  };
  const running = run();
  return {
    stop() {
      stopping.abort();
      return running;
    },
  };
}

async function residentMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1_024;
}

function medianOf(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}
