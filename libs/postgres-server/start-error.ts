import type { LogFile } from "./log-file.ts";
import { PostgresServerError } from "./postgres-server-error.ts";

const aboutLocale = /invalid locale|locale is incompatible|parameter "lc_/i;

/** What the log says of a server that did not start. */
export async function toStartError(what: string, log: LogFile): Promise<PostgresServerError> {
  const tail = await log.tail();
  const end = tail === "" ? `and ${log.path} says nothing of it` : `the end of ${log.path}:\n${tail}`;
  if (aboutLocale.test(tail)) {
    const message = `this machine lacks a locale that the database folder was made with or is told to use; ${end}`;
    return new PostgresServerError("locale", message);
  }
  return new PostgresServerError("start_failed", `${what}; ${end}`);
}

const aboutLock = /"postmaster\.pid" already exists|pre-existing shared memory block/;

/** Whether the log tells that another server's lock was in the way. */
export async function isLockedOut(log: LogFile): Promise<boolean> {
  return aboutLock.test(await log.tail());
}
