import type { Command } from "commander";
import { createAuditClient } from "#libs/client/audit-client.ts";
import { createCaseAdminClient } from "#libs/client/case-admin-client.ts";

import type { CliConfig } from "./config.ts";
import { Failure } from "./failure.ts";
import { findBothServices, readIdentity } from "./find-service.ts";
import { openProgress } from "./import/progress.ts";
import { print, writeLine } from "./print.ts";
import type { Finding } from "./reconcile/compare-sides.ts";
import { agree, reconcile } from "./reconcile/reconcile.ts";

interface Options {
  readonly repair?: boolean;
  readonly json?: boolean;
}

const differExit = 3;

/** `caseflow reconcile`: whether the audit service has what the case service has written down, and nothing else. */
export function addReconcileCommand(program: Command, config: CliConfig): void {
  program
    .command("reconcile")
    .description("compare the case service's entries with the audit service's events, both ways")
    .option("--repair", "queue what is missing for delivery again")
    .option("--json", "print lines of JSON instead")
    .addHelpText(
      "after",
      `
Compares every entry of the tenant's cases and policies with the events that the audit service holds, while both services go
on. A line tells of each event what is wrong with it:

  missing      its entry was acknowledged, and the audit service does not have it (as after a restore of the audit database)
  unexpected   the audit service has it, and the case service has no entry for it (as after a restore of the case database)
  different    both have one at this sequence, with different bytes
  pending      it waits for its delivery; a dead letter waits for somebody to act. No fault

Heads are compared first, and a subject's events where those differ. --repair queues the missing again, which is safe to repeat; of
the others nothing is changed. The last line has the totals. docs/backup.md tells what to do about each.

The services are those that CASE_URL and AUDIT_URL name, or the running local stack's. The token is CASEFLOW_TOKEN, with role
auditor, and operator to repair. Exit 0 when the two agree, 1 when the comparison was given up, 2 when the command was not
understood, 3 when they differ, or differed before --repair.

Examples:
  caseflow reconcile
  caseflow reconcile --json > differences.ndjson
  caseflow reconcile --repair; caseflow reconcile`,
    )
    .action(async (options: Options, command: Command) => {
      const services = await findBothServices(config);
      checkRoles("auditor", services.audit.token);
      if (options.repair) checkRoles("operator", services.cases.token);
      await using admin = createCaseAdminClient(services.cases);
      await using audit = createAuditClient(services.audit);
      using progress = openProgress(process.stderr, "subjects");
      progress.begin("comparing", 0);
      const onFinding = (finding: Finding): Promise<void> =>
        writeLine(process.stdout, options.json ? JSON.stringify(finding) : toLine(finding));
      const sides = { admin, audit, onFinding, onSubject: progress.step };
      const totals = await reconcile(sides, options.repair ?? false);
      const text = Object.entries(totals).map(([name, count]) => `${name}=${String(count)}`);
      print(command, text.join(" "), totals);
      if (!agree(totals)) process.exitCode = differExit;
    });
}

function checkRoles(role: string, token: string): void {
  if (readIdentity(token).roles.includes(role)) return;
  throw new Failure(
    `the token has no role ${role}: set CASEFLOW_TOKEN to one with roles auditor and operator`,
  );
}

/** In columns as wide as what nearly every line has. A subject is whatever its source calls it. */
function toLine({ outcome, subject, sequence, eventId, detail }: Finding): string {
  const name = subject.replaceAll(/\p{C}/gu, "?");
  const columns = [outcome.padEnd(10), name.padEnd(36), String(sequence).padStart(6), eventId, detail];
  return columns.join("  ").trimEnd();
}
