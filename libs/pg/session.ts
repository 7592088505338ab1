import { Client } from "pg";

export interface SessionOptions {
  /** `postgresql://user:password@host:port/database`, or with a socket folder: `postgresql://user@%2Ffolder/database`. */
  readonly url: string;
  /** Shown in `pg_stat_activity`. */
  readonly applicationName: string;
  readonly connectTimeoutMs: number;
  /** The longest wait for an answer; the query then fails, and the session is to be given up. Absent: as long as it takes. */
  readonly answerTimeoutMs?: number;
  /** Hears of the connection's death, also between queries; it is not to be used afterwards. */
  readonly onError: (error: Error) => void;
  /** Cuts the connection once it is aborted, also while it is being opened. */
  readonly signal?: AbortSignal;
}

/** Time a goodbye may take before the socket is cut. */
const goodbyeMs = 2_000;
const keepAliveDelayMs = 10_000;

/**
 * Opens one connection outside any pool, for what belongs to a session: session advisory locks, LISTEN.
 *
 * Throws what the driver throws when it cannot connect within `connectTimeoutMs`.
 */
export async function openSession(options: SessionOptions): Promise<Client & AsyncDisposable> {
  const client = new Client({
    connectionString: options.url,
    application_name: options.applicationName,
    connectionTimeoutMillis: options.connectTimeoutMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: keepAliveDelayMs,
    ...(options.answerTimeoutMs !== undefined && { query_timeout: options.answerTimeoutMs }),
  });
  client.on("error", options.onError);
  options.signal?.throwIfAborted();
  const cut = (): void => void client.connection.stream.destroy();
  options.signal?.addEventListener("abort", cut, { once: true });
  client.once("end", () => options.signal?.removeEventListener("abort", cut));
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => closeClient(client) });
}

/** Says goodbye, and cuts the socket of a server that does not hang up within two seconds. Never throws. */
async function closeClient(client: Client): Promise<void> {
  const cut = setTimeout(() => client.connection.stream.destroy(), goodbyeMs);
  try {
    await client.end();
  } finally {
    clearTimeout(cut);
  }
}
