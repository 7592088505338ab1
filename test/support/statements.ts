import { createAuditClient, type AuditClient } from "#libs/client/audit-client.ts";
import { createCaseAdminClient } from "#libs/client/case-admin-client.ts";
import type { AuditedEvent } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import type { Reconciliation } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { readVerifierKey } from "#libs/merkle/signed-note.ts";
import { readIdentity } from "#services/cli/find-service.ts";
import type { Finding } from "#services/cli/reconcile/compare-sides.ts";
import { reconcile, type Totals } from "#services/cli/reconcile/reconcile.ts";
import { recordStatement, type Statement } from "#services/cli/reconcile/record-statement.ts";
import { openSidesLedger } from "#services/cli/reconcile/sides-ledger.ts";
import { startAuditService } from "./audit-service.ts";
import { patientLimits } from "./bare-limits.ts";
import { type Folder, openFolder } from "./caseflow-command.ts";
import { startCaseService, tenant, type CaseServiceConfig } from "./case-service.ts";
import { listAllEvents, type Pair } from "./pair.ts";
import { logOrigin, makeSigning } from "./signing.ts";
import { createIssuer } from "./tokens.ts";

/** Both services, whose log is signed with a key that is known, and a folder for statements. */
export interface StatementStage extends Pair {
  readonly vkey: string;
  readonly folder: Folder;
  /** The settings of `caseflow` for somebody who may compare and state. */
  readonly env: Record<string, string>;
  /** The statements in the log, oldest first. */
  statements(): Promise<readonly AuditedEvent[]>;
}

const statementSource = "caseflow/reconcile";

export async function startStatementStage(config: CaseServiceConfig = {}): Promise<StatementStage> {
  await using opened = new AsyncDisposableStack();
  const issuer = opened.use(await createIssuer());
  const signing = opened.use(await makeSigning());
  const folder = opened.use(await openFolder());
  const audit = opened.use(await startAuditService({ issuer, signing }));
  const options = { issuer, auditUrl: audit.url, config: { relayPollMs: 50, ...config } };
  const cases = opened.use(await startCaseService(options));
  const [vkey = ""] = await signing.vkeys(tenant);
  const roles = ["operator", "event_source", "auditor"];
  const who = { tenant, sub: "reconciler", kind: "service", roles, sources: [statementSource] } as const;
  const env = { CASE_URL: cases.url, AUDIT_URL: audit.url, CASEFLOW_TOKEN: await issuer.token(who) };
  const running = opened.move();
  return {
    ...{ cases, audit, vkey, folder, env },
    async statements() {
      const events = await listAllEvents(audit.url, issuer);
      return events.filter(({ event }) => event!.source === statementSource);
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

export interface Recording {
  readonly findings: readonly Finding[];
  readonly totals: Totals;
  readonly statement: Statement | undefined;
}

/** What `caseflow reconcile --record` does, in this process; `wrap` may put itself between it and the audit service. */
export async function recordBetween(
  { vkey, env }: StatementStage,
  file: string,
  wrap: (audit: AuditClient) => AuditClient = (audit) => audit,
): Promise<Recording> {
  const token = env["CASEFLOW_TOKEN"]!;
  await using admin = createCaseAdminClient({ url: env["CASE_URL"]!, token, limits: patientLimits });
  await using direct = createAuditClient({ url: env["AUDIT_URL"]!, token, limits: patientLimits });
  using ledger = openSidesLedger();
  const audit = wrap(direct);
  const keys = { origin: `${logOrigin}/${tenant}`, verifiers: [readVerifierKey(vkey)] };
  const findings: Finding[] = [];
  let statement: Statement | undefined;
  const onFinding = async (finding: Finding): Promise<void> => void findings.push(finding);
  const sides = { admin, audit, onFinding, onSubject: () => {}, onEntries: ledger.addEntries };
  const totals = await reconcile(sides, false, async (report) => {
    const author = readIdentity(token);
    const more = { keys, ledger, file, author, onEvent: () => {} };
    statement = await recordStatement({ admin, audit, onFinding: report, ...more });
  });
  return { findings, totals, statement };
}

export function statedBy({ event }: AuditedEvent): Reconciliation {
  const { reconciliation } = event!;
  if (!reconciliation) throw new Error("the event states nothing");
  return reconciliation;
}
