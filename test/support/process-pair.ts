import { writeRelayToken } from "./case-service.ts";
import { cloneAuditDatabase, cloneCaseDatabase, type AuditDatabase, type CaseDatabase } from "./databases.ts";
import type { Signing } from "./signing.ts";
import type { SignerConfig } from "#services/audit/config.ts";
import { startServiceProcess, type ServiceProcess } from "./service-process.ts";
import { createIssuer, type Issuer } from "./tokens.ts";

/** Both services as processes of their own. */
export interface ProcessPair extends AsyncDisposable {
  readonly cases: ServiceProcess;
  readonly audit: ServiceProcess;
  readonly issuer: Issuer;
  readonly caseDatabase: CaseDatabase;
  readonly auditDatabase: AuditDatabase;
}

export interface ProcessPairOptions {
  /** With what the audit service signs; absent: it does not. */
  readonly signing?: Signing;
  /** How the case service reaches its database, given how it is reached straight. */
  readonly toCaseDatabase?: (url: string) => Promise<string>;
}

export async function startProcessPair(
  env: Readonly<Record<string, string>> = {},
  { signing, toCaseDatabase = async (url) => url }: ProcessPairOptions = {},
): Promise<ProcessPair> {
  await using opened = new AsyncDisposableStack();
  const issuer = opened.use(await createIssuer());
  const caseDatabase = opened.use(await cloneCaseDatabase());
  const auditDatabase = opened.use(await cloneAuditDatabase());
  const shared = {
    CASEFLOW_JWKS: issuer.jwks,
    CASEFLOW_JWT_ISSUER: issuer.issuer,
    CASEFLOW_JWT_AUDIENCE: issuer.audience,
    ...env,
  };
  const audit = opened.use(
    await startServiceProcess("services/audit/main.ts", {
      ...shared,
      OTEL_SERVICE_NAME: "audit",
      AUDIT_PORT: "0",
      AUDIT_METRICS_PORT: "0",
      AUDIT_DATABASE_URL: auditDatabase.appUrl,
      ...(signing && signingEnv(signing.config(auditDatabase))),
    }),
  );
  const cases = opened.use(
    await startServiceProcess("services/case/main.ts", {
      ...shared,
      OTEL_SERVICE_NAME: "case",
      CASE_PORT: "0",
      CASE_METRICS_PORT: "0",
      CASE_DATABASE_URL: await toCaseDatabase(caseDatabase.appUrl),
      CASE_RELAY_DATABASE_URL: caseDatabase.relayUrl,
      AUDIT_URL: audit.url,
      AUDIT_TOKEN_FILE: await writeRelayToken(issuer),
    }),
  );
  const running = opened.move();
  return {
    cases,
    audit,
    issuer,
    caseDatabase,
    auditDatabase,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

function signingEnv(config: SignerConfig): Readonly<Record<string, string>> {
  return {
    AUDIT_SIGNER_DATABASE_URL: config.signerDatabaseUrl,
    AUDIT_SIGNING_KEYS: config.signingKeys,
    AUDIT_SIGNER_HOME: config.signerHome,
    CASEFLOW_LOG_ORIGIN: config.logOrigin,
  };
}
