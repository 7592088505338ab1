import { readSettings, readShownSettings, together, type Environment } from "#libs/config/read-settings.ts";
import {
  flag,
  type Found,
  oneOf,
  port,
  postgresUrl,
  type Setting,
  type ShownSetting,
  text,
  urls,
  urlOrPath,
  wholeNumber,
} from "#libs/config/setting.ts";
import { AuditService } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { CaseAdminService } from "#libs/gen/caseflow/cases/v1/case_admin_service_pb.ts";
import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { disabledMethods } from "#libs/service/disabled-methods.ts";
import { type RateLimits, rateSettings } from "#libs/service/limit-settings.ts";

export interface RelayConfig {
  /** As the relay's role. */
  readonly relayDatabaseUrl: string;
  /** Of each replica of the audit service, or of what stands before them. */
  readonly auditUrl: string | readonly string[];
  /** Holds the token that the relay shows to the audit service; read again before each delivery. */
  readonly auditTokenFile: string;
  /** How long an event waits at most before somebody looks for it, if every wake-up was lost; in milliseconds. */
  readonly relayPollMs: number;
  /** An operator holds deliveries back: events wait in the outbox until a start without it. Absent: they do not. */
  readonly relayPaused?: boolean;
  readonly logLevel: LogLevel;
}

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";

export interface Config {
  readonly host: string;
  readonly port: number;
  readonly metricsPort: number;
  /** As the application role, which owns nothing. */
  readonly databaseUrl: string;
  readonly poolMax: number;
  /** How many processes like this one there are at a time. */
  readonly replicaCount: number;
  readonly jwks: URL;
  readonly jwtIssuer: string;
  readonly jwtAudience: string;
  /** The relay in this process; `undefined`: it runs elsewhere. */
  readonly relay: RelayConfig | undefined;
  readonly rates: RateLimits;
  /** Methods that are switched off, `package.Service/Method`. */
  readonly disabledMethods: readonly string[];
  readonly logLevel: LogLevel;
  /** How long the service says that it stops before it takes no more calls, so that load balancers notice; in milliseconds. */
  readonly announceMs: number;
  /** How long calls under way may still take after that; in milliseconds. */
  readonly drainMs: number;
  /** Whose operators may take profiles and heap snapshots, which hold every tenant's data; `undefined`: nobody may. */
  readonly debugTenant: string | undefined;
  /** What operators are shown of all of these. */
  readonly settings: readonly ShownSetting[];
}

const http = { protocols: ["http:", "https:"] };

const logLevel = oneOf("LOG_LEVEL", ["trace", "debug", "info", "warn", "error", "fatal", "silent"], {
  fallback: "info",
});

const replicaCount = wholeNumber("CASEFLOW_REPLICAS", { min: 1, max: 1_000, fallback: 1 });

const relaySettings = {
  relayDatabaseUrl: postgresUrl("CASE_RELAY_DATABASE_URL"),
  auditUrl: urls("AUDIT_URL", { ...http, fallback: ["http://127.0.0.1:7081"] }),
  auditTokenFile: text("AUDIT_TOKEN_FILE"),
  relayPollMs: wholeNumber("RELAY_POLL_MS", { min: 10, max: 60_000, fallback: 1_000 }),
  relayPaused: flag("RELAY_PAUSED", { fallback: false }),
  logLevel,
};

/** Reads the settings of the case service. Throws one `ConfigError` with every fault. */
export function readConfig(env: Environment): Config {
  return readShownSettings<Omit<Config, "settings">>(env, {
    host: text("CASEFLOW_BIND", { fallback: "127.0.0.1" }),
    port: port("CASE_PORT", { fallback: 7080 }),
    metricsPort: port("CASE_METRICS_PORT", { fallback: 7090 }),
    databaseUrl: postgresUrl("CASE_DATABASE_URL"),
    poolMax: wholeNumber("CASE_POOL_MAX", { min: 1, max: 1_000, fallback: 20 }),
    replicaCount,
    jwks: urlOrPath("CASEFLOW_JWKS", http),
    jwtIssuer: text("CASEFLOW_JWT_ISSUER"),
    jwtAudience: text("CASEFLOW_JWT_AUDIENCE"),
    relay: relayUnlessOff,
    rates: rateSettings,
    disabledMethods: disabledMethods([CaseService, CaseAdminService, AuditService]),
    logLevel,
    announceMs: wholeNumber("CASEFLOW_ANNOUNCE_MS", { min: 0, max: 60_000, fallback: 0 }),
    drainMs: wholeNumber("CASEFLOW_DRAIN_MS", { min: 0, max: 600_000, fallback: 10_000 }),
    debugTenant: text("CASEFLOW_DEBUG_TENANT", { pattern: /^[a-z0-9][a-z0-9-]{0,62}$/, fallback: undefined }),
  });
}

/** The relay as a process of its own. */
export interface LoneRelayConfig extends RelayConfig {
  /** How many processes like this one there are at a time. */
  readonly replicaCount: number;
}

/** Reads the settings of the relay when it runs alone. Throws one `ConfigError` with every fault. */
export function readRelayConfig(env: Environment): LoneRelayConfig {
  return readSettings<LoneRelayConfig>(env, { ...relaySettings, replicaCount });
}

/** `RELAY=off` asks for none of the relay's settings: a process without a relay is not to hold its credentials. */
const relayUnlessOff: Setting<RelayConfig | undefined> = (env) => {
  const where = oneOf("RELAY", ["in-process", "off"], { fallback: "in-process" })(env);
  if (where.fault !== undefined) return { fault: where.fault };
  const relay: Found<RelayConfig | undefined> =
    where.value === "off" ? { value: undefined } : together<RelayConfig>(relaySettings)(env);
  return relay.fault === undefined
    ? { ...relay, shown: [...(where.shown ?? []), ...(relay.shown ?? [])] }
    : relay;
};
