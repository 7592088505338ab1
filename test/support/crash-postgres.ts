import { mkdtemp, readlink, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { forgetPostgres } from "#libs/postgres-server/forget-postgres.ts";
import { processesIn } from "#libs/postgres-server/processes-in.ts";
import { startPostgres } from "#libs/postgres-server/start-postgres.ts";
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
}

const names = { case: "case_mortal", audit: "audit_mortal" };
const deathMs = 10_000;

export async function startMortalPostgres(): Promise<MortalPostgres> {
  await using opened = new AsyncDisposableStack();
  const home = await mkdtemp(join(tmpdir(), "caseflow-mortal-"));
  opened.defer(async () => {
    await forgetPostgres({ home });
    await rm(home, { recursive: true, force: true });
  });
  const begin = () => startPostgres({ home, fsync: false });
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
  const running = opened.move();
  return {
    cases: { ...databaseOf("case"), relayUrl: server.url("case_relay", names.case) },
    audit: { ...databaseOf("audit"), signerUrl: server.url("audit_signer", names.audit) },
    kill: {
      async strike() {
        const folder = await readlink(`/proc/${server.pid}/cwd`);
        process.kill(server.pid, "SIGKILL"); // First, lest it starts others.
        const alive = async (): Promise<number[]> => {
          const pids = await processesIn(folder);
          for (const pid of pids) killAnyway(pid);
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
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

function killAnyway(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has gone by itself.
  }
}
