import { decodeJwt } from "jose";
import { readStack, type TokenName } from "#libs/client/stack.ts";
import { openLocalIssuer } from "#libs/local-issuer/local-issuer.ts";

import type { CliConfig } from "./config.ts";
import { Failure } from "./failure.ts";
import { reconciledSource, statementSource } from "./verify/rules-reconciliation.ts";

/** Where a service is, and the token to call it with. */
export interface Service {
  readonly url: string;
  readonly token: string;
}

/** Who a token speaks for. */
export interface Identity {
  readonly tenantId: string;
  readonly principalId: string;
  readonly kind: "person" | "service";
  /** Empty: for nobody else. */
  readonly onBehalfOf: string;
  readonly roles: readonly string[];
  /** Which event sources it may speak for. */
  readonly sources: readonly string[];
}

const signedSeconds = 12 * 3_600;

/** What the settings name, or the running local stack's, with the token of one of its people. */
export async function findService(
  { caseUrl, token, home }: CliConfig,
  who: TokenName = "caseworker",
): Promise<Service> {
  if (caseUrl !== undefined && token !== undefined) return { url: caseUrl, token };
  const stack = await readStack(home);
  return { url: caseUrl ?? stack.case.url, token: token ?? stack.tokens[who] ?? "" };
}

/**
 * Both services, for whoever compares them: what the settings name, or the running local stack's, whose operator calls the case
 * service and whose auditor the audit service.
 */
export async function findBothServices({
  caseUrl,
  auditUrl,
  token,
  home,
}: CliConfig): Promise<{ readonly cases: Service; readonly audit: Service }> {
  if ((caseUrl === undefined) !== (auditUrl === undefined)) {
    throw new Failure("set both CASE_URL and AUDIT_URL, or neither for the local stack");
  }
  if (caseUrl !== undefined && auditUrl !== undefined && token !== undefined) {
    return { cases: { url: caseUrl, token }, audit: { url: auditUrl, token } };
  }
  const stack = await readStack(home);
  return {
    cases: { url: caseUrl ?? stack.case.url, token: token ?? stack.tokens.operator ?? "" },
    audit: { url: auditUrl ?? stack.audit.url, token: token ?? stack.tokens.auditor ?? "" },
  };
}

/** The audit service: what the settings name, or the running local stack's; its token is the auditor's. */
export async function findAuditService({ auditUrl, token, home }: CliConfig): Promise<Service> {
  if (auditUrl !== undefined && token !== undefined) return { url: auditUrl, token };
  const stack = await readStack(home);
  return { url: auditUrl ?? stack.audit.url, token: token ?? stack.tokens.auditor ?? "" };
}

/**
 * As `findAuditService`, for whoever brings back what a log had: of the local stack's tenant a token is signed where none is given, which
 * reads the log and speaks for the case service and for whoever stated that it and the log agree.
 */
export async function findAuditServiceForRestore(config: CliConfig): Promise<Service> {
  const sources = [reconciledSource, statementSource];
  const claims = { subject: "restorer", roles: ["auditor", "event_source"], sources };
  return signWhereNoneIsGiven(config, await findAuditService(config), claims);
}

/**
 * As `findBothServices`, for whoever states that they agree: of the local stack's tenant a token is signed where none is given,
 * which reads the log and may state it.
 */
export async function findBothServicesForStatement(
  config: CliConfig,
): Promise<{ readonly cases: Service; readonly audit: Service }> {
  const { cases, audit } = await findBothServices(config);
  const claims = { subject: "reconciler", roles: ["auditor", "event_source"], sources: [statementSource] };
  return { cases, audit: await signWhereNoneIsGiven(config, audit, claims) };
}

/** As `findService`, with role `importer`: of the local stack's tenant a token is signed where none is given. */
export async function findServiceForImport(config: CliConfig): Promise<Service> {
  return signWhereNoneIsGiven(config, await findService(config), {
    subject: "importer",
    roles: ["importer"],
  });
}

async function signWhereNoneIsGiven(
  config: CliConfig,
  service: Service,
  claims: {
    readonly subject: string;
    readonly roles: readonly string[];
    readonly sources?: readonly string[];
  },
): Promise<Service> {
  if (config.token !== undefined) return service;
  const issuer = await openLocalIssuer(config.home, config.tokens);
  if (!issuer || service.token === "") {
    const role = claims.roles.join(" and ");
    throw new Failure(`this stack's tokens come from elsewhere: set CASEFLOW_TOKEN to one with role ${role}`);
  }
  const { tenantId } = readIdentity(service.token);
  return { ...service, token: await issuer.sign({ ...claims, tenantId, kind: "service" }, signedSeconds) };
}

/** Reads who a token speaks for; whether it is good is for the service to say. */
export function readIdentity(token: string): Identity {
  try {
    const {
      sub,
      tenant_id: tenantId,
      roles,
      sources,
      kind,
      act,
    } = decodeJwt<{ act?: { sub?: unknown } }>(token);
    if (typeof sub !== "string" || typeof tenantId !== "string") throw new Error("it names no tenant");
    return {
      tenantId,
      principalId: sub,
      kind: kind === "service" ? "service" : "person",
      onBehalfOf: typeof act?.sub === "string" ? act.sub : "",
      roles: toTexts(roles),
      sources: toTexts(sources),
    };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new Failure(`the token cannot be read: ${message}`);
  }
}

function toTexts(claim: unknown): readonly string[] {
  return Array.isArray(claim) ? claim.map(String) : [];
}
