#!/usr/bin/env node
import { ConnectError } from "@connectrpc/connect";
import { Command, CommanderError } from "commander";
import { NoStack } from "#libs/client/stack.ts";
import { ConfigError } from "#libs/config/read-settings.ts";
import { ErrorInfoSchema } from "#libs/gen/google/rpc/error_details_pb.ts";

import { addAccessesCommand } from "./accesses.ts";
import { addCanDeployCommand } from "./can-deploy.ts";
import { addCaseCommand } from "./case.ts";
import { type CliConfig, readConfig } from "./config.ts";
import { addDeadLettersCommand } from "./dead-letters.ts";
import { addExplainCommand } from "./explain.ts";
import { addExportCommand } from "./export.ts";
import { Failure } from "./failure.ts";
import { addImportCommand } from "./import.ts";
import { addLogCommand } from "./log.ts";
import { addMigrateCommand } from "./migrate.ts";
import { addReconcileCommand } from "./reconcile.ts";
import { addTailCommand } from "./tail.ts";
import { addTokenCommand } from "./token.ts";
import { addVerifyCommand } from "./verify.ts";
import { exitCodes, Unverified } from "./verify/fault.ts";
import { tellFault } from "./verify/tell-fault.ts";

/**
 * The `caseflow` command. Exit 0 when it did what was asked, 1 when it could not, 2 when it was not understood; what else a
 * subcommand exits with is in its help.
 */
export function createProgram(config: CliConfig): Command {
  const program = new Command("caseflow")
    .description("Work with the case service and the audit service.")
    .exitOverride() // Before the subcommands, which inherit it.
    .showHelpAfterError("(caseflow --help, or --help after a subcommand, says more)");
  addTokenCommand(program, config);
  addCaseCommand(program, config);
  addExplainCommand(program, config);
  addExportCommand(program, config);
  addImportCommand(program, config);
  addDeadLettersCommand(program, config);
  addReconcileCommand(program, config);
  addTailCommand(program, config);
  addLogCommand(program, config);
  addAccessesCommand(program, config);
  addMigrateCommand(program, config);
  addVerifyCommand(program, config);
  addCanDeployCommand(program);
  return program;
}

/** Says on standard error what went wrong; returns the exit code. */
export function tellFailure(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // It has said why.
  if (error instanceof Unverified) {
    console.error(tellFault(error.fault));
    return exitCodes[error.fault.kind];
  }
  console.error(`caseflow: ${toMessage(error)}`);
  return 1;
}

/** What went wrong, for whoever gave the command; of what is a fault of ours, with where it happened. */
function toMessage(error: unknown): string {
  if (error instanceof Failure || error instanceof NoStack || error instanceof ConfigError)
    return error.message;
  if (error instanceof Error && "syscall" in error) return error.message; // A file that the system refuses, or its disk is full.
  if (error instanceof ConnectError) {
    const reason = error.findDetails(ErrorInfoSchema)[0]?.reason;
    return reason === undefined ? error.message : `${error.message} (${reason})`;
  }
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

if (import.meta.main) {
  process.stdout.on("error", () => process.exit()); // Its reader has had enough, as `head` has.
  try {
    await createProgram(readConfig(process.env)).parseAsync();
  } catch (error) {
    process.exitCode = tellFailure(error);
  }
}
