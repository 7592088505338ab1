import type pg from "pg";
import { runTransaction } from "#libs/pg/tenant-transaction.ts";
import type { Log } from "#libs/telemetry/log.ts";
import { outboxChannel } from "./lane-locks.ts";
import type { Relay } from "./relay.ts";

/** At most one notification in this time; the relay's poll stands behind a lost one. */
const quietMs = 10;
const timeoutMs = 1_000;

/**
 * Wakes relays elsewhere by NOTIFY, after commits and never inside their transactions: there it would take a
 * database-wide lock at commit.
 */
export function createAnnouncer(pool: pg.Pool, log: Log): Relay {
  let timer: NodeJS.Timeout | undefined;
  let sending: Promise<unknown> = Promise.resolve();
  const announce = (): void => {
    timer = undefined;
    const notify = { name: "announce_outbox", text: "SELECT pg_notify($1, '')", values: [outboxChannel] };
    sending = runTransaction(pool, { timeoutMs }, [notify]).catch((error: unknown) =>
      log.debug({ err: error }, "relays elsewhere could not be woken: their poll will find what waits"),
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
