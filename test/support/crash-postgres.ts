import { mkdtemp, readlink, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { forgetPostgres } from "#libs/postgres-server/forget-postgres.ts";
import { processesIn } from "#libs/postgres-server/processes-in.ts";
import { startPostgres, type PostgresOptions } from "#libs/postgres-server/start-postgres.ts";
import { createDatabases, databaseRoles } from "#services/local/databases.ts";
import { migrateDatabase } from "./cluster.ts";
import type { Fault } from "./crash-attack.ts";
import type { AuditDatabase, CaseDatabase, TestDatabase } from "./databases.ts";

/** A PostgreSQL that may be killed, with a database of each kind. */
export interface MortalPostgres extends AsyncDisposable {
  readonly cases: CaseDatabase;
  readonly audit: AuditDatabase;
  /** SIGKILL to the postmaster and to every child of his, and a start with recovery. */
  readonly kill: Fault;
  /** SIGSTOP to all of its processes, until it is disposed. */
  freeze(): Promise<AsyncDisposable>;
  /** Ends it by a signal to the postmaster; disposing starts it again. */
  stop(signal: "SIGINT" | "SIGQUIT" | "SIGKILL"): Promise<AsyncDisposable>;
}

const names = { case: "case_mortal", audit: "audit_mortal" };
const deathMs = 10_000;

export async function startMortalPostgres(
  options: Pick<PostgresOptions, "maxConnections"> = {},
): Promise<MortalPostgres> {
  await using opened = new AsyncDisposableStack();
  const home = await mkdtemp(join(tmpdir(), "caseflow-mortal-"));
  opened.defer(async () => {
    await forgetPostgres({ home });
    await rm(home, { recursive: true, force: true });
  });
  const begin = () => startPostgres({ home, fsync: false, ...options });
  let server = await begin();
  opened.defer(() => server[Symbol.asyncDispose]());
  await createDatabases(server.url("postgres", "postgres"), names);
  for (const kind of ["case", "audit"] as const)
    await migrateDatabase(kind, server.url(databaseRoles[kind].owner, names[kind]));
  const databaseOf = (kind: "case" | "audit"): TestDatabase => ({
    name: names[kind],
    ownerUrl: server.url(databaseRoles[kind].owner, names[kind]),
    appUrl: server.url(databaseRoles[kind].users[0], names[kind]),
    superuserUrl: server.url("postgres", names[kind]),
    [Symbol.asyncDispose]: async () => {}, // Goes with the server.
  });
  const folder = (): Promise<string> => readlink(`/proc/${server.pid}/cwd`);
  const kill: Fault = {
    async strike() {
      const data = await folder();
      process.kill(server.pid, "SIGKILL"); // First, lest it starts others.
      const alive = async (): Promise<number[]> => {
        const pids = await processesIn(data);
        for (const pid of pids) signalAnyway(pid, "SIGKILL");
        return pids;
      };
      await expect
        .poll(alive, { timeout: deathMs, interval: 5, message: "processes of PostgreSQL" })
        .toEqual([]);
      await server.ended;
    },
    async recover() {
      server = await begin();
    },
  };
  const running = opened.move();
  return {
    cases: { ...databaseOf("case"), relayUrl: server.url("case_relay", names.case) },
    audit: { ...databaseOf("audit"), signerUrl: server.url("audit_signer", names.audit) },
    kill,
    async freeze() {
      const data = await folder();
      process.kill(server.pid, "SIGSTOP"); // First, lest it starts others.
      const pids = await processesIn(data);
      for (const pid of pids) signalAnyway(pid, "SIGSTOP");
      return {
        [Symbol.asyncDispose]: async () => {
          for (const pid of await processesIn(data)) signalAnyway(pid, "SIGCONT");
        },
      };
    },
    async stop(signal) {
      if (signal === "SIGKILL") {
        await kill.strike(undefined as never); // It asks for nothing of what it strikes at.
      } else {
        process.kill(server.pid, signal);
        await server.ended;
      }
      return { [Symbol.asyncDispose]: () => kill.recover() };
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

function signalAnyway(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has gone by itself.
  }
}
