import { openSession } from "#libs/pg/session.ts";

/** Namespace of our advisory locks within the database: "case" in ASCII. */
const lockSpace = 0x63617365;

/** Channel on which writers elsewhere tell that something waits. */
export const outboxChannel = "caseflow_outbox";

/**
 * Which relay works which lane: session advisory locks on one connection that is never inside a transaction. If the
 * connection dies, the locks are gone and others take over; that is safe, since the audit service absorbs duplicates.
 */
export interface LaneLocks extends AsyncDisposable {
  /** False once the connection has died: whatever was locked is not ours any more. */
  readonly alive: boolean;
  tryLock(lane: number): Promise<boolean>;
  unlock(lane: number): Promise<void>;
}

export async function openLaneLocks(options: {
  readonly url: string;
  readonly connectTimeoutMs: number;
  /** Called on each NOTIFY of a writer elsewhere. */
  readonly onNotified: () => void;
  readonly onLost: (error: Error) => void;
}): Promise<LaneLocks> {
  let alive = true;
  const session = await openSession({
    url: options.url,
    applicationName: "caseflow-relay-locks",
    connectTimeoutMs: options.connectTimeoutMs,
    onError: (error) => {
      alive = false;
      options.onLost(error);
    },
  });
  session.on("end", () => (alive = false));
  session.on("notification", options.onNotified);
  await session.query(`LISTEN ${outboxChannel}`);
  return {
    get alive() {
      return alive;
    },
    async tryLock(lane) {
      const { rows } = await session.query<{ locked: boolean }>({
        name: "try_lock_lane",
        text: "SELECT pg_try_advisory_lock($1::integer, $2::integer) AS locked",
        values: [lockSpace, lane],
      });
      return rows[0]?.locked === true;
    },
    async unlock(lane) {
      await session.query({
        name: "unlock_lane",
        text: "SELECT pg_advisory_unlock($1::integer, $2::integer)",
        values: [lockSpace, lane],
      });
    },
    [Symbol.asyncDispose]: () => session[Symbol.asyncDispose](),
  };
}
