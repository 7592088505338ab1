import { fileURLToPath } from "node:url";

import { migrate } from "#libs/pg/migrate.ts";
import { type PostgresServer, startPostgres } from "#libs/postgres-server/start-postgres.ts";

import type { DatabaseUrls, LocalConfig } from "./config.ts";
import { createDatabases, databaseRoles } from "./databases.ts";
import type { Progress } from "./progress.ts";
import { StartFailure } from "./start-failure.ts";

export interface Databases {
  readonly urls: DatabaseUrls;
  /** `undefined` where the databases are not the stack's own. */
  readonly server: PostgresServer | undefined;
}

const names = { case: "caseflow_case", audit: "caseflow_audit" } as const;

/** Starts PostgreSQL and makes databases and roles, unless the settings name others; migrates them either way. */
export async function startDatabases(
  config: LocalConfig,
  progress: Progress,
  opened: AsyncDisposableStack,
): Promise<Databases> {
  const databases = config.databases
    ? { urls: config.databases, server: undefined }
    : await startOwn(config.home, progress, opened);
  await progress.step("migrations", () => migrateBoth(databases.urls), describeMigrations);
  return databases;
}

async function startOwn(home: string, progress: Progress, opened: AsyncDisposableStack): Promise<Databases> {
  const server = await progress.step(
    "postgres",
    async (note) => opened.use(await startPostgres({ home, onProgress: note })),
    ({ pid }) => `process ${pid}`,
  );
  await progress.step(
    "databases",
    () => createDatabases(server.url("postgres", "postgres"), names),
    () => Object.values(names).join(", "),
  );
  const [caseApp, caseRelay] = databaseRoles.case.users;
  const [auditApp, auditSigner] = databaseRoles.audit.users;
  return {
    server,
    urls: {
      caseOwner: server.url(databaseRoles.case.owner, names.case),
      caseApp: server.url(caseApp, names.case),
      caseRelay: server.url(caseRelay, names.case),
      auditOwner: server.url(databaseRoles.audit.owner, names.audit),
      auditApp: server.url(auditApp, names.audit),
      auditSigner: server.url(auditSigner, names.audit),
    },
  };
}

async function migrateBoth(urls: DatabaseUrls): Promise<Record<"case" | "audit", number>> {
  return {
    case: await migrateOne("case", urls.caseOwner),
    audit: await migrateOne("audit", urls.auditOwner),
  };
}

/** Returns how many were applied. */
async function migrateOne(service: "case" | "audit", url: string): Promise<number> {
  const folder = fileURLToPath(new URL(`../${service}/migrations`, import.meta.url));
  try {
    const { applied } = await migrate({ url, folder });
    return applied.length;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const setting = `${service.toUpperCase()}_OWNER_DATABASE_URL`;
    throw new StartFailure(`${setting}: the ${service} database cannot be migrated: ${message}`, {
      cause: error,
    });
  }
}

function describeMigrations(applied: Record<"case" | "audit", number>): string {
  if (applied.case + applied.audit === 0) return "up to date";
  return `${applied.case} applied to case, ${applied.audit} to audit`;
}
