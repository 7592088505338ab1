import type { Command } from "commander";
import { createAuditClient } from "#libs/client/audit-client.ts";

import type { CliConfig } from "../config.ts";
import { findAuditService } from "../find-service.ts";
import { print } from "../print.ts";

/** `caseflow log vkey`: the keys of the log, as the service tells them. */
export function addVkeyCommand(log: Command, config: CliConfig): void {
  log
    .command("vkey")
    .description("print the verifier keys of the tenant's log, a line each, the newest first")
    .option("--json", 'print {"keys": […]} instead')
    .addHelpText(
      "after",
      `
The keys are those that the service tells. Whoever could rewrite its log could tell a key of their own: compare them over another
channel, on paper or by a call, before you rely on them, and keep them apart from the log.

The service is the one that AUDIT_URL names, or the running local stack's. The token is CASEFLOW_TOKEN, or the local
stack's auditor's.

Examples:
  caseflow log vkey > log.vkey
  caseflow verify log.ndjson --vkey "$(head -n 1 log.vkey)"`,
    )
    .action(async (_options: unknown, command: Command) => {
      await using audit = createAuditClient(await findAuditService(config));
      const { verifierKeys: keys } = await audit.getCheckpoint({});
      console.error(
        "note: compare these keys over another channel; a service that lies about its log lies about its key",
      );
      print(command, keys.join("\n"), { keys });
    });
}
