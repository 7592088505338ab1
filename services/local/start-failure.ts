import { PostgresServerError } from "#libs/postgres-server/postgres-server-error.ts";

/** Why the stack does not run, in one sentence that says what to change; details, if any, follow on lines of their own. */
export class StartFailure extends Error {
  override readonly name = "StartFailure";
}

/** Adds to a refusal of the file system, or of PostgreSQL, which setting it comes from; anything else stays as it is. */
export function explainHome(error: unknown, home: string): unknown {
  if (error instanceof PostgresServerError)
    return new StartFailure(explainPostgres(error, home), { cause: error });
  if (!(error instanceof Error && "syscall" in error && "code" in error)) return error;
  const path = "path" in error ? String(error.path) : home;
  return new StartFailure(
    `CASEFLOW_HOME: cannot write ${path} (${String(error.code)}); set it to a folder that this user can write to`,
    { cause: error },
  );
}

function explainPostgres({ kind, message }: PostgresServerError, home: string): string {
  switch (kind) {
    case "unwritable":
      return `CASEFLOW_HOME: ${message}; set it to a folder that this user can write to`;
    case "already_running":
      return `CASEFLOW_HOME: ${message}; stop that one first, or set it to another folder`;
    case "locale":
      return `CASEFLOW_HOME: set it to another folder, or forget the data with npm start -- --reset: ${message}`;
    case "unsupported_platform":
      return `CASE_DATABASE_URL: ${message}; set it and the five others to a PostgreSQL of your own`;
    case "start_failed":
      return `CASEFLOW_HOME: no PostgreSQL with the folder ${home}; set it to another, or CASE_DATABASE_URL to a server of your own: ${message}`;
    default:
      return kind satisfies never;
  }
}
