import { createAuditClient } from "#libs/client/audit-client.ts";
import type { AuditedEvent } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { startAuditService, type AuditServiceFixture } from "./audit-service.ts";
import { startCaseService, tenant, type CaseServiceConfig, type CaseServiceFixture } from "./case-service.ts";
import { createIssuer, type Issuer } from "./tokens.ts";
import { patientLimits } from "./bare-limits.ts";

/** Both services, with the relay between them, each on a database and ports of its own; the audit service signs. */
export interface Pair extends AsyncDisposable {
  readonly cases: CaseServiceFixture;
  readonly audit: AuditServiceFixture;
}

export async function startPair(config: CaseServiceConfig = {}): Promise<Pair> {
  await using opened = new AsyncDisposableStack();
  const issuer = opened.use(await createIssuer());
  const audit = opened.use(await startAuditService({ issuer, signing: true }));
  const cases = opened.use(await startCaseService({ issuer, auditUrl: audit.url, config }));
  const running = opened.move();
  return { cases, audit, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** All events of a tenant as the audit service lists them, oldest first. */
export async function listAllEvents(auditUrl: string, issuer: Issuer, of = tenant): Promise<AuditedEvent[]> {
  const token = await issuer.token({ tenant: of, sub: "auditor", roles: ["auditor"] });
  await using client = createAuditClient({ url: auditUrl, token, limits: patientLimits });
  const events: AuditedEvent[] = [];
  for (let pageToken = "", more = true; more; more = pageToken !== "") {
    const page = await client.listEvents({ pageSize: 500, pageToken });
    events.push(...page.events);
    pageToken = page.nextPageToken;
  }
  return events;
}
