import type { Command } from "commander";
import { createAuditClient } from "#libs/client/audit-client.ts";
import type { NoteVerifier } from "#libs/merkle/signed-note.ts";

import type { CliConfig } from "../config.ts";
import { findAuditServiceForRestore } from "../find-service.ts";
import { openProgress } from "../import/progress.ts";
import { print } from "../print.ts";
import { addKey, toLogKeys } from "../verifier-keys.ts";
import { readFolder } from "../verify/mirror-files.ts";
import { restoreLog } from "./restore-log.ts";

/** `caseflow log restore`: gives a restored audit database the events that it lost. */
export function addRestoreCommand(log: Command, config: CliConfig): void {
  log
    .command("restore <folder>")
    .description("send the service what a mirror has and its log lacks, after its database was restored")
    .requiredOption("--vkey <key>", "a key of the log, known from elsewhere; once for each key", addKey)
    .option("--json", "print one line of JSON instead")
    .addHelpText("after", helpText)
    .action(async (folder: string, { vkey }: { vkey: readonly NoteVerifier[] }, command: Command) => {
      const keys = toLogKeys(vkey, command);
      await using audit = createAuditClient(await findAuditServiceForRestore(config));
      using progress = openProgress(process.stderr, "events");
      progress.begin("restoring", 0);
      const restored = await restoreLog({
        read: readFolder(folder),
        keys,
        audit,
        onSent: () => progress.step(),
      });
      const { sentCount: sent, checkpoint } = restored;
      print(command, `sent=${sent} size=${checkpoint.size}`, { sent, size: checkpoint.size });
    });
}

const helpText = `
A database restored from a backup lacks what was signed since: its log is not signed again until it is, leaf by leaf, what it was. This
sends the missing events from a mirror, in their order. Stop the deliveries first (RELAY=off): an event in between would take a leaf
that is another's, and then the log can never again be what was signed. docs/verification.md says more.

The service is the one that AUDIT_URL names, or the running local stack's. CASEFLOW_TOKEN needs the tenant, the roles auditor and
event_source, and the sources of the events; for the local stack a token is signed.

Example:
  caseflow log restore /srv/logs/acme --vkey "$(cat log.vkey)"`;
