import type { QueryResult, QueryResultRow } from "pg";
import { openSession } from "#libs/pg/session.ts";

/** Namespace of our advisory locks within the database: "case" in ASCII. */
const lockSpace = 0x63617365;
/** A lock session that does not answer in this time is given up. */
const answerMs = 5_000;

/** Channel on which writers elsewhere tell that something waits. */
export const outboxChannel = "caseflow_outbox";

/**
 * Which relay works which lane: session advisory locks on one connection that is never inside a transaction. If the
 * connection dies, the locks are gone and others take over; that is safe, since the audit service absorbs duplicates.
 */
export interface LaneLocks extends AsyncDisposable {
  /** False once the connection has died or gone silent: whatever was locked is not ours any more. */
  readonly alive: boolean;
  tryLock(lane: number): Promise<boolean>;
  unlock(lane: number): Promise<void>;
}

/** Throws when the connection cannot be had, or does not lead straight to PostgreSQL. */
export async function openLaneLocks(options: {
  readonly url: string;
  readonly connectTimeoutMs: number;
  /** Gives all locks up at once when it is aborted, and the connection with them. */
  readonly signal?: AbortSignal;
  /** Called on each NOTIFY of a writer elsewhere. */
  readonly onNotified: () => void;
  readonly onLost: (error: Error) => void;
}): Promise<LaneLocks> {
  await using opened = new AsyncDisposableStack();
  let alive = true;
  const lose = (error: Error): void => {
    if (alive) options.onLost(error);
    alive = false;
  };
  const session = opened.use(
    await openSession({
      url: options.url,
      applicationName: "caseflow-relay-locks",
      connectTimeoutMs: options.connectTimeoutMs,
      answerTimeoutMs: answerMs,
      ...(options.signal && { signal: options.signal }),
      onError: lose,
    }),
  );
  session.on("end", () => (alive = false));
  session.on("notification", options.onNotified);

  /** One query at a time; a session that fails or keeps silent is lost, for it may still hold its locks. */
  let turn: Promise<unknown> = Promise.resolve();
  const ask = <R extends QueryResultRow>(text: string, values: unknown[] = []): Promise<QueryResult<R>> => {
    const answer = turn.then(() => session.query<R>(text, values));
    turn = answer.catch((error: Error) => {
      lose(error);
      session.connection.stream.destroy();
    });
    return answer;
  };

  const { rows } = await ask<{ pid: number }>("SELECT pg_backend_pid() AS pid");
  // The process that answered the log-in, which `pg` keeps and its types leave out: a pooler makes one up.
  const { processID } = session as typeof session & { readonly processID?: number };
  if (rows[0]?.pid !== processID) {
    throw new Error(
      "the relay needs a connection straight to PostgreSQL, and CASE_RELAY_DATABASE_URL leads to a pooler: " +
        "its locks would be left on connections that others use",
    );
  }
  await ask(`LISTEN ${outboxChannel}`);
  const held = opened.move();
  return {
    get alive() {
      return alive;
    },
    async tryLock(lane) {
      const answer = await ask<{ locked: boolean }>(
        "SELECT pg_try_advisory_lock($1::integer, $2::integer) AS locked",
        [lockSpace, lane],
      );
      return answer.rows[0]?.locked === true;
    },
    async unlock(lane) {
      await ask("SELECT pg_advisory_unlock($1::integer, $2::integer)", [lockSpace, lane]);
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}
