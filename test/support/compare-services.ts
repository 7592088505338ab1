import { createAuditClient, type AuditClient } from "#libs/client/audit-client.ts";
import { createCaseAdminClient, type CaseAdminClient } from "#libs/client/case-admin-client.ts";
import type { AuditedEvent } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import type { Finding } from "#services/cli/reconcile/compare-sides.ts";
import { reconcile, type Totals } from "#services/cli/reconcile/reconcile.ts";
import type { AuditServiceFixture } from "./audit-service.ts";
import { patientLimits } from "./bare-limits.ts";
import { tenant, type CaseServiceFixture } from "./case-service.ts";

export interface Services {
  readonly cases: CaseServiceFixture;
  readonly audit: AuditServiceFixture;
}

export interface Comparison {
  readonly findings: readonly Finding[];
  /** The findings as `outcome subject sequence event`, sorted. */
  readonly told: readonly string[];
  readonly totals: Totals;
  /** How many pages of events were read. */
  readonly reads: number;
}

/** A token of somebody who may do all that `caseflow reconcile` does, or what `roles` allow. */
export function reconcilerToken(
  { cases }: Services,
  roles: readonly string[] = ["auditor", "operator"],
): Promise<string> {
  return cases.issuer.token({ tenant, sub: "reconciler", roles });
}

/** What `caseflow reconcile` does, in this process. `onAnswer` is called between two of its reads. */
export async function compareServices(
  services: Services,
  { repair = false, onAnswer = async () => {} }: { repair?: boolean; onAnswer?: () => Promise<void> } = {},
): Promise<Comparison> {
  const token = await reconcilerToken(services);
  await using caseClient = createCaseAdminClient({ url: services.cases.url, token, limits: patientLimits });
  await using auditClient = createAuditClient({ url: services.audit.url, token, limits: patientLimits });
  let reads = 0;
  const answer = async <T>(asked: Promise<T>): Promise<T> => {
    const answered = await asked;
    await onAnswer();
    return answered;
  };
  const admin: CaseAdminClient = {
    ...caseClient,
    listEntryDigests: (...asked) => answer(caseClient.listEntryDigests(...asked)),
  };
  const audit: AuditClient = {
    ...auditClient,
    listSubjectHeads: (...asked) => answer(auditClient.listSubjectHeads(...asked)),
    listEvents(...asked) {
      reads += 1;
      return answer(auditClient.listEvents(...asked));
    },
  };
  const findings: Finding[] = [];
  const onFinding = async (finding: Finding): Promise<void> => void findings.push(finding);
  const totals = await reconcile({ admin, audit, onFinding, onSubject: () => {} }, repair);
  const told = findings.map(({ outcome, subject, sequence, eventId }) =>
    [outcome, subject, sequence, eventId].join(" "),
  );
  return { findings, told: told.toSorted(), totals, reads };
}

/** The events as `told` has them. */
export function toTold(outcome: string, events: readonly AuditedEvent[]): string[] {
  return events
    .map(({ event }) => [outcome, event!.subject, event!.subjectSequence, event!.eventId].join(" "))
    .toSorted();
}
