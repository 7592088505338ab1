/**
 * The one PostgreSQL of a test run, with a migrated template of each database. `TEST_POSTGRES_BIN` names the `bin`
 * folder of another PostgreSQL, to run the suite on that.
 *
 * At the run's end, everything that services wrote is searched for secrets and contents of cases: the run fails when there are any.
 */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import type { TestProject } from "vitest/node";

import { migrate } from "#libs/pg/migrate.ts";
import { forgetPostgres } from "#libs/postgres-server/forget-postgres.ts";
import { type PostgresServer, startPostgres } from "#libs/postgres-server/start-postgres.ts";
import {
  createDatabases,
  type DatabaseKind,
  databaseRoles,
  openSuperuserSession,
} from "#services/local/databases.ts";

import { findSecrets } from "./find-secrets.ts";
import { openMemoryFolder } from "./memory-folder.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** Where the run's PostgreSQL listens. */
    postgresSocketDir: string;
  }
}

/** By kind; a template takes no connections, so that it can be cloned at any time. */
export const templates = { case: "case_template", audit: "audit_template" } as const;

/** Three workers, each with a pool for every service of a stack or two. */
const maxConnections = 400;

/** Called by vitest before the first test; what it returns is called after the last. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  await using opened = new AsyncDisposableStack();
  const home = await mkdtemp(join(tmpdir(), "caseflow-test-"));
  opened.defer(() => remove(home));
  const nativeDir = process.env["TEST_POSTGRES_BIN"];
  const other = nativeDir === undefined ? {} : { nativeDir };
  const memory = await openMemoryFolder();
  if (memory !== undefined) opened.use(memory);
  const server = opened.use(await startPostgres({ home, fsync: false, maxConnections, ...other }));
  await makeTemplates(server, memory?.path);
  project.provide("postgresSocketDir", server.socketDir);
  const outputFolder = await mkdtemp(join(tmpdir(), "caseflow-output-"));
  project.provide("outputFolder", outputFolder);
  const running = opened.move();
  return async () => {
    await running.disposeAsync();
    await expectNoSecrets(outputFolder);
  };
}

/** Copies of a template lie where it does: in `folder`, if one is given. */
async function makeTemplates(server: PostgresServer, folder: string | undefined): Promise<void> {
  const superuserUrl = server.url("postgres", "postgres");
  await createDatabases(superuserUrl, templates);
  await using session = await openSuperuserSession(superuserUrl);
  if (folder !== undefined) await session.query(`CREATE TABLESPACE memory LOCATION '${folder}'`);
  for (const kind of ["case", "audit"] as const) {
    await migrateDatabase(kind, server.url(databaseRoles[kind].owner, templates[kind]));
    if (folder !== undefined) await session.query(`ALTER DATABASE ${templates[kind]} SET TABLESPACE memory`);
    await session.query(`ALTER DATABASE ${templates[kind]} WITH IS_TEMPLATE true ALLOW_CONNECTIONS false`);
  }
}

/** `url` is its owner's. */
export async function migrateDatabase(kind: DatabaseKind, url: string): Promise<void> {
  const folder = fileURLToPath(new URL(`../../services/${kind}/migrations`, import.meta.url));
  const names = await readdir(folder).catch(() => []);
  if (names.some((name) => name.endsWith(".sql"))) await migrate({ url, folder });
}

/** The folder stays when something is found in it, so that it can be looked at. */
async function expectNoSecrets(folder: string): Promise<void> {
  const faults = await findSecrets(folder);
  if (faults.length > 0) throw new Error(`services wrote what nobody may read there:\n${faults.join("\n")}`);
  await rm(folder, { recursive: true });
}

async function remove(home: string): Promise<void> {
  await forgetPostgres({ home });
  await rm(home, { recursive: true, force: true });
}
