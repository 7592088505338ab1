import { readSettings, type Environment } from "#libs/config/read-settings.ts";
import { oneOf, port, text, url, urlOrPath, wholeNumber } from "#libs/config/setting.ts";

export interface Config {
  /** The address that both ports are bound to. */
  readonly host: string;
  /** Of the RPCs; 0 is any free port. */
  readonly port: number;
  /** Of health and version over HTTP; 0 is any free port. */
  readonly metricsPort: number;
  /** As the application role, which owns nothing. */
  readonly databaseUrl: string;
  /** The most connections to the database at a time. */
  readonly poolMax: number;
  /** The keys that tokens are verified with. */
  readonly jwks: URL;
  readonly jwtIssuer: string;
  readonly jwtAudience: string;
  /** How long calls under way may still take after the signal to stop; in milliseconds. */
  readonly drainMs: number;
  readonly logLevel: "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";
}

/** Reads the settings of the audit service. Throws one `ConfigError` with every fault. */
export function readConfig(env: Environment): Config {
  return readSettings<Config>(env, {
    host: text("CASEFLOW_BIND", { fallback: "127.0.0.1" }),
    port: port("AUDIT_PORT", { fallback: 7081 }),
    metricsPort: port("AUDIT_METRICS_PORT", { fallback: 7091 }),
    databaseUrl: url("AUDIT_DATABASE_URL", { protocols: ["postgresql:", "postgres:"] }),
    poolMax: wholeNumber("AUDIT_POOL_MAX", { min: 1, max: 1_000, fallback: 20 }),
    jwks: urlOrPath("CASEFLOW_JWKS", { protocols: ["http:", "https:"] }),
    jwtIssuer: text("CASEFLOW_JWT_ISSUER"),
    jwtAudience: text("CASEFLOW_JWT_AUDIENCE"),
    drainMs: wholeNumber("CASEFLOW_DRAIN_MS", { min: 0, max: 600_000, fallback: 10_000 }),
    logLevel: oneOf("LOG_LEVEL", ["trace", "debug", "info", "warn", "error", "fatal", "silent"], {
      fallback: "info",
    }),
  });
}
