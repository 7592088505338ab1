import { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Pool } from "pg";
import { watchPool } from "./pool-metrics.ts";

export interface OpenPoolOptions {
  /** `postgresql://user:password@host:port/database`, or with a socket folder: `postgresql://user@%2Ffolder/database`. */
  readonly url: string;
  /** The most connections held open at a time. */
  readonly max: number;
  /** Shown in `pg_stat_activity`. */
  readonly applicationName: string;
  /** For opening a connection, and the longest that anyone waits for a free one. */
  readonly connectTimeoutMs: number;
  /** Hears of connections that die while nobody uses them. The pool has dropped them already: this is for the log. */
  readonly onError: (error: Error) => void;
  /** How long closing waits for connections in use, before it cuts them. Five seconds when absent. */
  readonly drainMs?: number;
}

const idleTimeoutMs = 30_000;
const keepAliveDelayMs = 10_000;
/** Bounds how long a connection keeps the plans and the server address it once settled on. */
const lifetimeSeconds = 30 * 60;
const defaultDrainMs = 5_000;

/**
 * Opens a pool of pipelined connections. Nothing connects before the first use.
 *
 * A connection's death ends neither the process nor the pool: idle ones are dropped and told to `onError`, and whoever
 * uses one hears of it through the queries that fail. Disposing hands out no more connections, waits up to `drainMs`
 * for those in use to come back, cuts the rest, and resolves once all sockets are closed. It never throws.
 */
export function openPool(options: OpenPoolOptions): Pool & AsyncDisposable {
  const sockets = new Set<Socket>();
  const pool = new Pool({
    connectionString: options.url,
    application_name: options.applicationName,
    max: options.max,
    connectionTimeoutMillis: options.connectTimeoutMs,
    idleTimeoutMillis: idleTimeoutMs,
    maxLifetimeSeconds: lifetimeSeconds,
    keepAlive: true,
    keepAliveInitialDelayMillis: keepAliveDelayMs,
    pipeline: true,
    stream: () => openSocket(sockets),
  });
  pool.on("error", options.onError);
  // Without a listener of its own, a connection that dies while in use ends the process.
  pool.on("connect", (client) => client.on("error", () => {}));
  const watch = watchPool(pool, options.applicationName);
  let closed: Promise<void> | undefined;
  const end = (): Promise<void> => {
    watch[Symbol.dispose]();
    return close(pool, sockets, options.drainMs ?? defaultDrainMs);
  };
  return Object.assign(pool, { [Symbol.asyncDispose]: () => (closed ??= end()) });
}

function openSocket(sockets: Set<Socket>): Socket {
  const socket = new Socket();
  sockets.add(socket);
  return socket.once("close", () => sockets.delete(socket));
}

async function close(pool: Pool, sockets: ReadonlySet<Socket>, drainMs: number): Promise<void> {
  const patience = new AbortController();
  const late = sleep(drainMs, undefined, { signal: patience.signal }).catch(() => {});
  await Promise.race([pool.end().then(() => allClosed(sockets)), late]);
  patience.abort();
  for (const socket of sockets) socket.destroy();
  await allClosed(sockets);
}

async function allClosed(sockets: ReadonlySet<Socket>): Promise<void> {
  await Promise.all([...sockets].map((socket) => new Promise((resolve) => socket.once("close", resolve))));
}
