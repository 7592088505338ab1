import type pg from "pg";
import { runTransaction } from "#libs/pg/tenant-transaction.ts";
import type { Log } from "#libs/telemetry/log.ts";
import { outboxChannel } from "./lane-locks.ts";

/** At most one notification in this time; the relay's poll stands behind a lost one. */
const quietMs = 10;
const timeoutMs = 1_000;

export interface Announcer extends AsyncDisposable {
  /** Tells that something was committed. Cheap; many calls make one notification. */
  wake(): void;
}

/**
 * Wakes relays and watches elsewhere by NOTIFY, after commits and never inside their transactions: there it would take a
 * database-wide lock at commit.
 */
export function createAnnouncer(pool: pg.Pool, log: Log): Announcer {
  let timer: NodeJS.Timeout | undefined;
  let sending: Promise<unknown> = Promise.resolve();
  const announce = (): void => {
    timer = undefined;
    const notify = { name: "announce_outbox", text: "SELECT pg_notify($1, '')", values: [outboxChannel] };
    sending = runTransaction(pool, { timeoutMs }, [notify]).catch((error: unknown) =>
      log.debug({ err: error }, "others could not be told of a commit: their poll will find it"),
    );
  };
  return {
    wake() {
      timer ??= setTimeout(announce, quietMs);
    },
    async [Symbol.asyncDispose]() {
      if (timer !== undefined) {
        clearTimeout(timer);
        announce();
      }
      await sending;
    },
  };
}
