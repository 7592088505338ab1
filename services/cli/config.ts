import { resolve } from "node:path";

import { type Environment, readSettings } from "#libs/config/read-settings.ts";
import { secret, text, url } from "#libs/config/setting.ts";
import { defaultIssuerNames, type IssuerNames } from "#libs/local-issuer/local-issuer.ts";

export interface CliConfig {
  /** The local stack's folder, absolute. */
  readonly home: string;
  readonly tokens: IssuerNames;
  /** Of the owner roles; `undefined`: those of the running stack. */
  readonly caseOwnerUrl: string | undefined;
  readonly auditOwnerUrl: string | undefined;
  /** Where the services are, and who calls; `undefined`: the running stack's. */
  readonly caseUrl: string | undefined;
  readonly auditUrl: string | undefined;
  readonly token: string | undefined;
}

const services = { protocols: ["http:", "https:"], fallback: undefined } as const;
const databases = { protocols: ["postgresql:", "postgres:"], fallback: undefined } as const;

/** Reads the command's settings; throws `ConfigError` with every fault. */
export function readConfig(env: Environment): CliConfig {
  const { home, issuer, audience, ...rest } = readSettings(env, {
    home: text("CASEFLOW_HOME", { fallback: ".caseflow" }),
    issuer: text("CASEFLOW_JWT_ISSUER", { fallback: defaultIssuerNames.issuer }),
    audience: text("CASEFLOW_JWT_AUDIENCE", { fallback: defaultIssuerNames.audience }),
    caseOwnerUrl: url("CASE_OWNER_DATABASE_URL", databases),
    auditOwnerUrl: url("AUDIT_OWNER_DATABASE_URL", databases),
    caseUrl: url("CASE_URL", services),
    auditUrl: url("AUDIT_URL", services),
    token: secret("CASEFLOW_TOKEN", { fallback: undefined }),
  });
  return { home: resolve(home), tokens: { issuer, audience }, ...rest };
}
