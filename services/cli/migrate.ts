import { fileURLToPath } from "node:url";

import { type Command, InvalidArgumentError } from "commander";
import { readStack } from "#libs/client/stack.ts";
import { migrate } from "#libs/pg/migrate.ts";
import { readMigrationFiles } from "#libs/pg/migration-files.ts";

import type { CliConfig } from "./config.ts";
import { Failure } from "./failure.ts";
import { print, toTable } from "./print.ts";

interface Outcome {
  readonly database: "case" | "audit";
  /** Names of the files applied now, in order. */
  readonly applied: readonly string[];
}

/** `caseflow migrate`: brings both databases up to the migrations of this release. */
export function addMigrateCommand(program: Command, config: CliConfig): void {
  program
    .command("migrate")
    .description("apply what is missing of the migrations, to the case and the audit database")
    .option("--to <number>", "stop at this migration; a database with fewer stops at its last", readNumber)
    .option("--json", "print one line of JSON instead")
    .addHelpText(
      "after",
      `
The databases are those that CASE_OWNER_DATABASE_URL and AUDIT_OWNER_DATABASE_URL name, or those of the running local
stack. Migrations only go forward; one that fails is named, and those before it stay applied.

Examples:
  caseflow migrate
  caseflow migrate --to 3`,
    )
    .action(async ({ to }: { to?: number }, command: Command) => {
      const urls = await findDatabases(config);
      const outcomes: Outcome[] = [];
      for (const database of ["case", "audit"] as const) {
        outcomes.push({ database, applied: await apply(database, urls[database], to) });
      }
      print(command, toText(outcomes), outcomes);
    });
}

async function findDatabases(config: CliConfig): Promise<{ case: string; audit: string }> {
  const { caseOwnerUrl, auditOwnerUrl } = config;
  if (caseOwnerUrl !== undefined && auditOwnerUrl !== undefined) {
    return { case: caseOwnerUrl, audit: auditOwnerUrl };
  }
  if (caseOwnerUrl !== undefined || auditOwnerUrl !== undefined) {
    const missing = caseOwnerUrl === undefined ? "CASE_OWNER_DATABASE_URL" : "AUDIT_OWNER_DATABASE_URL";
    throw new Failure(
      `${missing} is not set, and the other one is: set both, or neither for the local stack`,
    );
  }
  const { postgres } = await readStack(config.home);
  return { case: postgres.caseUrl, audit: postgres.auditUrl };
}

async function apply(
  database: Outcome["database"],
  url: string,
  to: number | undefined,
): Promise<readonly string[]> {
  const folder = fileURLToPath(new URL(`../${database}/migrations`, import.meta.url));
  const { length } = await readMigrationFiles(folder);
  try {
    const target = to === undefined ? {} : { to: Math.min(to, length) };
    const { applied } = await migrate({ url, folder, ...target });
    return applied;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new Failure(`${database} database: ${message}`, { cause: error });
  }
}

function toText(outcomes: readonly Outcome[]): string {
  const rows = outcomes.flatMap(({ database, applied }) =>
    applied.length === 0 ? [[database, "up to date"]] : applied.map((name) => [database, `applied ${name}`]),
  );
  return toTable(rows);
}

function readNumber(text: string): number {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("It is a migration's number, from 1.");
}
