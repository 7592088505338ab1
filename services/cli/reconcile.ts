import type { Command } from "commander";
import { createAuditClient } from "#libs/client/audit-client.ts";
import { createCaseAdminClient } from "#libs/client/case-admin-client.ts";
import type { NoteVerifier } from "#libs/merkle/signed-note.ts";

import type { CliConfig } from "./config.ts";
import { Failure } from "./failure.ts";
import { findBothServices, findBothServicesForStatement, readIdentity } from "./find-service.ts";
import { keepHeapSmall } from "./import/keep-heap-small.ts";
import { openProgress } from "./import/progress.ts";
import { print, writeLine } from "./print.ts";
import type { Finding } from "./reconcile/compare-sides.ts";
import { agree, reconcile } from "./reconcile/reconcile.ts";
import { recordStatement, type Statement } from "./reconcile/record-statement.ts";
import { openSidesLedger } from "./reconcile/sides-ledger.ts";
import { addKey, findLogKeys } from "./verifier-keys.ts";
import { statementSource } from "./verify/rules-reconciliation.ts";

interface Options {
  readonly repair?: boolean;
  readonly record?: string;
  readonly vkey?: readonly NoteVerifier[];
  readonly json?: boolean;
}

const differExit = 3;

/** `caseflow reconcile`: whether the audit service has what the case service has written down, and nothing else. */
export function addReconcileCommand(program: Command, config: CliConfig): void {
  program
    .command("reconcile")
    .description("compare the case service's entries with the audit service's events, both ways")
    .option("--repair", "queue what is missing for delivery again")
    .option("--record <file>", "where they agree, state so in the log, and write the signed statement here")
    .option(
      "--vkey <key>",
      "with --record: a key of the log, known from elsewhere; once for each key",
      addKey,
    )
    .option("--json", "print lines of JSON instead")
    .addHelpText("after", helpText)
    .action(async (options: Options, command: Command) => {
      const { repair = false, record: file } = options;
      const services = await (file === undefined
        ? findBothServices(config)
        : findBothServicesForStatement(config));
      checkRole("auditor", services.audit.token);
      if (repair) checkRole("operator", services.cases.token);
      if (file !== undefined) checkSource(services.audit.token);
      await using admin = createCaseAdminClient(services.cases);
      await using audit = createAuditClient(services.audit);
      using progress = openProgress(process.stderr, file === undefined ? "subjects" : "subjects and events");
      progress.begin("comparing", 0);
      using ledger = file === undefined ? undefined : openSidesLedger();
      const onFinding = (finding: Finding): Promise<void> =>
        writeLine(process.stdout, options.json ? JSON.stringify(finding) : toLine(finding));
      const sides = { admin, audit, onFinding, onSubject: progress.step, onEntries: ledger?.addEntries };
      let statement: Statement | undefined;
      const confirm = async (report: typeof onFinding): Promise<void> => {
        if (file === undefined || ledger === undefined) return;
        keepHeapSmall();
        statement = await recordStatement({
          ...{ admin, audit, ledger, file, onFinding: report, onEvent: progress.step },
          keys: await findLogKeys(audit, options.vkey, command),
          author: readIdentity(services.audit.token),
        });
      };
      const totals = await reconcile(sides, repair, confirm);
      const texts = Object.entries(totals).map(([name, count]) => `${name}=${String(count)}`);
      if (statement) texts.push(`statement=${statement.eventId}`);
      print(command, texts.join(" "), { ...totals, ...(statement && { statement }) });
      if (!agree(totals)) process.exitCode = differExit;
    });
}

const helpText = `
Compares every entry of the tenant's cases and policies with the events that the audit service holds, while both services go
on. A line tells of each event what is wrong with it:

  missing      its entry was acknowledged, and the audit service does not have it (as after a restore of the audit database)
  unexpected   the audit service has it, and the case service has no entry for it (as after a restore of the case database)
  different    both have one at this sequence, with different bytes
  pending      it waits for its delivery; a dead letter waits for somebody to act. No fault

Heads are compared first, and a subject's events where those differ. --repair queues the missing again, which is safe to repeat; of
the others nothing is changed. The last line has the totals. docs/backup.md tells what to do about each.

With --record the whole signed log is verified besides, as by caseflow verify, and compared with the entries event by event. Where
all agrees, the log gets an event that states so: up to which size and root, how many entries, and their digest. FILE is
that event with its proof; anybody can check it with caseflow verify and the log's key.

The services are those that CASE_URL and AUDIT_URL name, or the running local stack's. The token is CASEFLOW_TOKEN, with role
auditor, and operator to repair. --record needs role event_source too, and ${statementSource} among the token's sources; for the
local stack one is signed. Exit 0 when the two agree, 1 when the comparison was given up, 2 when the command was not
understood, 3 when they differ, or differed before --repair: then nothing is recorded. A log that does not hold ends with the
codes of caseflow verify.

Examples:
  caseflow reconcile
  caseflow reconcile --json > differences.ndjson
  caseflow reconcile --repair; caseflow reconcile
  caseflow reconcile --record 2026-01.tlog-proof --vkey "$(cat log.vkey)"`;

function checkRole(role: string, token: string): void {
  if (readIdentity(token).roles.includes(role)) return;
  throw new Failure(
    `the token has no role ${role}: set CASEFLOW_TOKEN to one with roles auditor and operator`,
  );
}

function checkSource(token: string): void {
  const { roles, sources } = readIdentity(token);
  if (roles.includes("event_source") && sources.includes(statementSource)) return;
  throw new Failure(
    `the token may state nothing: set CASEFLOW_TOKEN to one with role event_source, and ${statementSource} among its sources`,
  );
}

/** In columns as wide as what nearly every line has. A subject is whatever its source calls it. */
function toLine({ outcome, subject, sequence, eventId, detail }: Finding): string {
  const name = subject.replaceAll(/\p{C}/gu, "?");
  const columns = [outcome.padEnd(10), name.padEnd(36), String(sequence).padStart(6), eventId, detail];
  return columns.join("  ").trimEnd();
}
