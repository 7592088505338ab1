import { readFile } from "node:fs/promises";
import type pg from "pg";
import { createAuditClient } from "#libs/client/audit-client.ts";
import { openPool } from "#libs/pg/pool.ts";
import type { ConnectionUse } from "#libs/service/connection-budget.ts";
import type { Log } from "#libs/telemetry/log.ts";
import type { RelayConfig } from "../config.ts";
import { watchBacklog } from "../relay/backlog-gauges.ts";
import { startRemoval } from "../relay/remove-answers.ts";
import { startRelay, type Relay } from "../relay/relay.ts";
import { createRecordEvents } from "./audit-recorder.ts";

const connectTimeoutMs = 5_000;
/** The relay itself has waited for its transactions. */
const drainMs = 1_000;
/** One a lane that is worked at a time, one for removing answers, and one for telling the backlog. */
const poolMax = 6;

/** What the relay connects to its database with. */
export function relayConnections({ relayDatabaseUrl: url }: RelayConfig): ConnectionUse[] {
  return [
    { what: "the relay's pool", url, count: poolMax },
    { what: "the relay's locks", url, count: 1 },
  ];
}

/**
 * The relay with a pool and an audit client of its own, and what else its role does; `now` dates its dead letters. Paused, it takes no
 * lane and delivers nothing; the backlog is still told. `onConnected` is called whenever it has got a connection for its work.
 */
export function openRelay(
  config: RelayConfig,
  log: Log,
  now: () => Date,
  onConnected: () => void = () => {},
): Relay {
  const opened = new AsyncDisposableStack();
  const pool = opened.use(
    openPool({
      url: config.relayDatabaseUrl,
      max: poolMax,
      applicationName: "caseflow-relay",
      connectTimeoutMs,
      drainMs,
      onError: (error) => log.warn({ err: error }, "an idle database connection of the relay died"),
    }),
  );
  pool.on("acquire", onConnected);
  if (config.relayPaused)
    log.warn("the relay is paused: events wait in the outbox until a start without RELAY_PAUSED");
  const relay = config.relayPaused ? undefined : opened.use(openDelivery(config, pool, log, now));
  opened.use(watchBacklog({ pool, now }));
  opened.use(startRemoval({ pool, now, log }));
  return { wake: () => relay?.wake(), [Symbol.asyncDispose]: () => opened.disposeAsync() };
}

function openDelivery(config: RelayConfig, pool: pg.Pool, log: Log, now: () => Date): Relay {
  const opened = new AsyncDisposableStack();
  const client = opened.use(
    createAuditClient({
      url: config.auditUrl,
      // The relay is a policy of its own: it tries again by tenant and lane. A breaker would be one for all tenants.
      limits: { retry: "off", breaker: "off" },
      token: async () => (await readFile(config.auditTokenFile, "utf8")).trim(),
    }),
  );
  const relay = opened.use(
    startRelay({
      databaseUrl: config.relayDatabaseUrl,
      pool,
      recordEvents: createRecordEvents(client, now),
      pollMs: config.relayPollMs,
      now,
      log,
    }),
  );
  return { wake: () => relay.wake(), [Symbol.asyncDispose]: () => opened.disposeAsync() };
}
