import type { Command } from "commander";

import type { CliConfig } from "./config.ts";
import { addLogExportCommand } from "./log/export.ts";
import { addMirrorCommand } from "./log/mirror.ts";
import { addProofCommand } from "./log/proof.ts";
import { addRestoreCommand } from "./log/restore.ts";
import { addVkeyCommand } from "./log/vkey.ts";

/** `caseflow log …`: the tenant's log in the audit service. */
export function addLogCommand(program: Command, config: CliConfig): void {
  const log = program.command("log").description("work with the tenant's log of events");
  addLogExportCommand(log, config);
  addMirrorCommand(log, config);
  addRestoreCommand(log, config);
  addProofCommand(log, config);
  addVkeyCommand(log, config);
}
