import { readdir, readFile } from "node:fs/promises";
import { create, type Message } from "@bufbuild/protobuf";
import { CaseService, ListCasesRequestSchema } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { expect } from "vitest";
import { verdictOf, wires } from "./attack-http.ts";
import { people, tenant, writeRelayToken } from "./case-service.ts";
import { cloneCaseDatabase, type TestDatabase } from "./databases.ts";
import { startServiceProcess } from "./service-process.ts";
import { createIssuer, type Issuer } from "./tokens.ts";

/** The case service as a process of its own, and what of the machine it takes. */
export interface AttackedService extends AsyncDisposable {
  readonly url: string;
  readonly database: TestDatabase;
  readonly issuer: Issuer;
  /** A caseworker's. */
  readonly token: string;
  readonly path: string;
  /** How many connections of callers it holds. */
  connections(): Promise<number>;
  /** How many files and sockets it has open; up to `databaseConnections` of them lead to its database. */
  openFiles(): Promise<number>;
  /** What of the machine's memory it takes. */
  residentBytes(): Promise<number>;
  /** What it still has in memory once its garbage is collected, on the heap and beside it. */
  keptBytes(): Promise<number>;
  /** How a caller who does nothing wrong is served, over a connection of his own: `ok`. */
  callWell(): Promise<string>;
  /** What it has said of faults of its own, and what it has said in other words than its log's. */
  complaints(): readonly string[];
  /** The log's lines of calls. */
  calls(): readonly CallLine[];
}

export interface CallLine {
  readonly method: string;
  readonly code: string;
  readonly correlationId: string;
}

export const databaseConnections = 16;
/** What is left for its objects; a process that keeps what it is sent dies of it. */
const heapMiB = 128;
/** How long it may take to tell what it keeps. */
const toldMs = 10_000;

export async function startAttackedService(): Promise<AttackedService> {
  await using opened = new AsyncDisposableStack();
  const issuer = opened.use(await createIssuer());
  const database = opened.use(await cloneCaseDatabase());
  const service = opened.use(
    await startServiceProcess("services/case/main.ts", {
      NODE_OPTIONS: `--max-old-space-size=${heapMiB} --expose-gc --import ./test/support/attack-http-collect.ts`,
      CASEFLOW_JWKS: issuer.jwks,
      CASEFLOW_JWT_ISSUER: issuer.issuer,
      CASEFLOW_JWT_AUDIENCE: issuer.audience,
      CASE_PORT: "0",
      CASE_METRICS_PORT: "0",
      CASE_DATABASE_URL: database.appUrl,
      CASE_RELAY_DATABASE_URL: database.relayUrl,
      CASE_POOL_MAX: String(databaseConnections),
      AUDIT_URL: "http://127.0.0.1:1",
      AUDIT_TOKEN_FILE: await writeRelayToken(issuer),
      RELAY: "off",
    }),
  );
  const token = await issuer.token({ tenant, sub: "caseworker", roles: people.caseworker });
  const path = `/${CaseService.typeName}/ListCases`;
  const request: Message = create(ListCasesRequestSchema, { pageSize: 1 });
  const callWell = async (): Promise<string> => {
    const answer = await wires.grpc.send(service.url, {
      path,
      headers: {
        "content-type": wires.grpc.contentType,
        authorization: `Bearer ${token}`,
        te: "trailers",
      },
      body: wires.grpc.encode(ListCasesRequestSchema, request),
    });
    return verdictOf(wires.grpc, answer);
  };
  const linesOf = (isCall: boolean) =>
    service.lines.filter((line) => !line.startsWith("{") || line.includes(`"msg":"call"}`) === isCall);
  const running = opened.move();
  return {
    url: service.url,
    database,
    issuer,
    token,
    path,
    connections: () => countConnections(service.pid, service.url),
    openFiles: async () => (await readdir(`/proc/${service.pid}/fd`)).length,
    async residentBytes() {
      const status = await readFile(`/proc/${service.pid}/status`, "utf8");
      return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
    },
    async keptBytes() {
      const before = keptLines(service.lines).length;
      process.kill(service.pid, "SIGUSR2");
      await expect.poll(() => keptLines(service.lines).length, { timeout: toldMs }).toBeGreaterThan(before);
      return keptLines(service.lines).at(-1)?.bytes ?? Number.NaN;
    },
    callWell,
    complaints: () =>
      linesOf(false).filter(
        (line) => !/^\{"level":"(info|warn)"/.test(line) || line.includes("connection failed"),
      ),
    calls: () => linesOf(true).map((line) => JSON.parse(line) as CallLine), // As `requestLog` writes them.
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

interface KeptLine {
  readonly msg: "kept";
  readonly bytes: number;
}

function keptLines(lines: readonly string[]): readonly KeptLine[] {
  return lines.filter((line) => line.includes('"msg":"kept"')).map((line) => JSON.parse(line) as KeptLine); // As `attack-http-collect.ts` writes them.
}

/** Of connections to its port, each end that the process still holds. */
async function countConnections(pid: number, url: string): Promise<number> {
  const port = Number(new URL(url).port).toString(16).toUpperCase().padStart(4, "0");
  const listening = "0A";
  const rows = (await readFile(`/proc/${pid}/net/tcp`, "utf8")).trim().split("\n").slice(1);
  return rows.filter((row) => {
    const [, local = "", , state, , , , , , inode] = row.trim().split(/\s+/);
    return local.endsWith(`:${port}`) && state !== listening && inode !== "0";
  }).length;
}
