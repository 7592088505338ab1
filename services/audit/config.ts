import { readShownSettings, together, type Environment } from "#libs/config/read-settings.ts";
import {
  oneOf,
  port,
  postgresUrl,
  type Setting,
  type ShownSetting,
  text,
  url,
  urlOrPath,
  wholeNumber,
} from "#libs/config/setting.ts";
import { AuditService } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { CaseAdminService } from "#libs/gen/caseflow/cases/v1/case_admin_service_pb.ts";
import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { disabledMethods } from "#libs/service/disabled-methods.ts";
import { type RateLimits, rateSettings } from "#libs/service/limit-settings.ts";

export interface SignerConfig {
  /** As the signer's role. */
  readonly signerDatabaseUrl: string;
  /** A folder of private keys, each an Ed25519 key as PKCS#8 in a file `*.pem`. */
  readonly signingKeys: string;
  /** A folder that keeps the last checkpoint of each log, outside of the database and of its backups. */
  readonly signerHome: string;
  /** Origin and key name of a tenant's log are this, a slash and the tenant's id. */
  readonly logOrigin: string;
}

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
  /** How many processes like this one there are at a time. */
  readonly replicaCount: number;
  /** The keys that tokens are verified with. */
  readonly jwks: URL;
  readonly jwtIssuer: string;
  readonly jwtAudience: string;
  /** `undefined`: this process does not sign. One process alone may, of all that serve a database. */
  readonly signer: SignerConfig | undefined;
  readonly rates: RateLimits;
  /** Methods that are switched off, `package.Service/Method`. */
  readonly disabledMethods: readonly string[];
  /** How long the service says that it stops before it takes no more calls, so that load balancers notice; in milliseconds. */
  readonly announceMs: number;
  /** How long calls under way may still take after that; in milliseconds. */
  readonly drainMs: number;
  readonly logLevel: "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";
  /** Whose operators may take profiles and heap snapshots, which hold every tenant's data; `undefined`: nobody may. */
  readonly debugTenant: string | undefined;
  /** What operators are shown of all of these. */
  readonly settings: readonly ShownSetting[];
}

/** Reads the settings of the audit service. Throws one `ConfigError` with every fault. */
export function readConfig(env: Environment): Config {
  return readShownSettings<Omit<Config, "settings">>(env, {
    host: text("CASEFLOW_BIND", { fallback: "127.0.0.1" }),
    port: port("AUDIT_PORT", { fallback: 7081 }),
    metricsPort: port("AUDIT_METRICS_PORT", { fallback: 7091 }),
    databaseUrl: url("AUDIT_DATABASE_URL", { protocols: ["postgresql:", "postgres:"] }),
    poolMax: wholeNumber("AUDIT_POOL_MAX", { min: 1, max: 1_000, fallback: 20 }),
    replicaCount: wholeNumber("CASEFLOW_REPLICAS", { min: 1, max: 1_000, fallback: 1 }),
    jwks: urlOrPath("CASEFLOW_JWKS", { protocols: ["http:", "https:"] }),
    jwtIssuer: text("CASEFLOW_JWT_ISSUER"),
    jwtAudience: text("CASEFLOW_JWT_AUDIENCE"),
    signer: signerIfSet,
    rates: rateSettings,
    disabledMethods: disabledMethods([CaseService, CaseAdminService, AuditService]),
    announceMs: wholeNumber("CASEFLOW_ANNOUNCE_MS", { min: 0, max: 60_000, fallback: 0 }),
    drainMs: wholeNumber("CASEFLOW_DRAIN_MS", { min: 0, max: 600_000, fallback: 10_000 }),
    logLevel: oneOf("LOG_LEVEL", ["trace", "debug", "info", "warn", "error", "fatal", "silent"], {
      fallback: "info",
    }),
    debugTenant: text("CASEFLOW_DEBUG_TENANT", { pattern: /^[a-z0-9][a-z0-9-]{0,62}$/, fallback: undefined }),
  });
}

const signerSettings = {
  signerDatabaseUrl: postgresUrl("AUDIT_SIGNER_DATABASE_URL"),
  signingKeys: text("AUDIT_SIGNING_KEYS"),
  signerHome: text("AUDIT_SIGNER_HOME"),
  logOrigin: text("CASEFLOW_LOG_ORIGIN", {
    pattern: /^(?=.{1,190}$)[a-z0-9][a-z0-9.-]*(\/[\w.~-]+)*$/,
    allowed: "a host name and a path without a scheme, such as example.org/log, of at most 190 characters",
  }),
};

/** The origin alone asks for nothing: it is told to processes that do not sign, too. */
const signerIfSet: Setting<SignerConfig | undefined> = (env) => {
  const names = ["AUDIT_SIGNER_DATABASE_URL", "AUDIT_SIGNING_KEYS", "AUDIT_SIGNER_HOME"];
  const isSet = names.some((name) => env[name]?.trim());
  return isSet ? together<SignerConfig>(signerSettings)(env) : { value: undefined };
};
