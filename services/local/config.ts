import { resolve } from "node:path";

import { ConfigError, type Environment, readSettings } from "#libs/config/read-settings.ts";
import { port, text, url, urlOrPath } from "#libs/config/setting.ts";
import { defaultIssuerNames, type IssuerNames } from "#libs/local-issuer/local-issuer.ts";

/** Connection strings of every role; the owner's migrate. */
export interface DatabaseUrls {
  readonly caseOwner: string;
  readonly caseApp: string;
  readonly caseRelay: string;
  readonly auditOwner: string;
  readonly auditApp: string;
  readonly auditSigner: string;
}

/** Who issues tokens in place of the local issuer. */
export interface ForeignIssuer {
  /** Of the keys that tokens are verified with. */
  readonly jwks: URL;
  /** Holds the token that the relay shows to the audit service. */
  readonly relayTokenFile: string;
}

/** What the audit service signs checkpoints with. */
export interface LogConfig {
  readonly origin: string;
  /** A folder of private keys, which are not ours to make; `undefined`: the stack makes one. Absolute. */
  readonly signingKeys: string | undefined;
}

export interface LocalConfig {
  /** Everything the stack keeps is below it; absolute. */
  readonly home: string;
  readonly host: string;
  /** By setting's name; 0 is any free port. */
  readonly ports: Readonly<Record<PortName, number>>;
  readonly tokens: IssuerNames;
  /** `undefined`: the stack runs a PostgreSQL of its own. */
  readonly databases: DatabaseUrls | undefined;
  /** `undefined`: the stack issues its tokens itself. */
  readonly foreignIssuer: ForeignIssuer | undefined;
  readonly log: LogConfig;
  /** What the services inherit, and are given their settings on top of. */
  readonly environment: Environment;
}

export type PortName = "CASE_PORT" | "CASE_METRICS_PORT" | "AUDIT_PORT" | "AUDIT_METRICS_PORT";

const postgres = { protocols: ["postgresql:", "postgres:"], fallback: undefined } as const;

const databaseSettings = {
  CASE_DATABASE_URL: url("CASE_DATABASE_URL", postgres),
  CASE_OWNER_DATABASE_URL: url("CASE_OWNER_DATABASE_URL", postgres),
  CASE_RELAY_DATABASE_URL: url("CASE_RELAY_DATABASE_URL", postgres),
  AUDIT_DATABASE_URL: url("AUDIT_DATABASE_URL", postgres),
  AUDIT_OWNER_DATABASE_URL: url("AUDIT_OWNER_DATABASE_URL", postgres),
  AUDIT_SIGNER_DATABASE_URL: url("AUDIT_SIGNER_DATABASE_URL", postgres),
};

/** Reads the local stack's settings; throws `ConfigError` with every fault. */
export function readConfig(env: Environment = process.env): LocalConfig {
  const read = readSettings(env, {
    home: text("CASEFLOW_HOME", { fallback: ".caseflow" }),
    host: text("CASEFLOW_BIND", { fallback: "127.0.0.1" }),
    CASE_PORT: port("CASE_PORT", { fallback: 7080 }),
    CASE_METRICS_PORT: port("CASE_METRICS_PORT", { fallback: 7090 }),
    AUDIT_PORT: port("AUDIT_PORT", { fallback: 7081 }),
    AUDIT_METRICS_PORT: port("AUDIT_METRICS_PORT", { fallback: 7091 }),
    issuer: text("CASEFLOW_JWT_ISSUER", { fallback: defaultIssuerNames.issuer }),
    audience: text("CASEFLOW_JWT_AUDIENCE", { fallback: defaultIssuerNames.audience }),
    jwks: urlOrPath("CASEFLOW_JWKS", { protocols: ["http:", "https:"], fallback: undefined }),
    relayTokenFile: text("AUDIT_TOKEN_FILE", { fallback: undefined }),
    logOrigin: text("CASEFLOW_LOG_ORIGIN", { fallback: "caseflow.local/log" }),
    signingKeys: text("AUDIT_SIGNING_KEYS", { fallback: undefined }),
    ...databaseSettings,
  });
  const { CASE_PORT, CASE_METRICS_PORT, AUDIT_PORT, AUDIT_METRICS_PORT } = read;
  return {
    home: resolve(read.home),
    host: read.host,
    ports: { CASE_PORT, CASE_METRICS_PORT, AUDIT_PORT, AUDIT_METRICS_PORT },
    tokens: { issuer: read.issuer, audience: read.audience },
    databases: toDatabases(read),
    foreignIssuer: toForeignIssuer(read.jwks, read.relayTokenFile),
    log: {
      origin: read.logOrigin,
      signingKeys: read.signingKeys === undefined ? undefined : resolve(read.signingKeys),
    },
    environment: env,
  };
}

/** All of them or none: a stack half of whose data lies elsewhere would be nobody's to reset. */
function toDatabases(read: {
  [Name in keyof typeof databaseSettings]: string | undefined;
}): DatabaseUrls | undefined {
  const caseOwner = read.CASE_OWNER_DATABASE_URL;
  const caseApp = read.CASE_DATABASE_URL;
  const caseRelay = read.CASE_RELAY_DATABASE_URL;
  const auditOwner = read.AUDIT_OWNER_DATABASE_URL;
  const auditApp = read.AUDIT_DATABASE_URL;
  const auditSigner = read.AUDIT_SIGNER_DATABASE_URL;
  if (caseOwner && caseApp && caseRelay && auditOwner && auditApp && auditSigner) {
    return { caseOwner, caseApp, caseRelay, auditOwner, auditApp, auditSigner };
  }
  const names = Object.keys(databaseSettings) as (keyof typeof databaseSettings)[]; // Its keys are just these.
  const missing = names.filter((name) => read[name] === undefined);
  if (missing.length === names.length) return undefined;
  throw new ConfigError(
    missing.map((name) => `${name}: not set, though other database URLs are; allowed: all six, or none`),
  );
}

function toForeignIssuer(
  jwks: URL | undefined,
  relayTokenFile: string | undefined,
): ForeignIssuer | undefined {
  if (jwks === undefined) return undefined;
  if (relayTokenFile !== undefined) return { jwks, relayTokenFile: resolve(relayTokenFile) };
  throw new ConfigError([
    "AUDIT_TOKEN_FILE: not set, though CASEFLOW_JWKS is; allowed: the file with the token that the relay is to show",
  ]);
}
