import type { Command } from "commander";
import { createCaseClient } from "#libs/client/case-client.ts";

import type { CliConfig } from "./config.ts";
import { exportCases } from "./export/export-cases.ts";
import { findService } from "./find-service.ts";
import { print, writeLine } from "./print.ts";
import { writeWhole } from "./write-whole.ts";

/** `caseflow export`: every case of the tenant with its history, as `caseflow import` reads it. */
export function addExportCommand(program: Command, config: CliConfig): void {
  program
    .command("export")
    .description("write the tenant's cases with their history as canonical NDJSON")
    .option("--out <file>", "write to this file instead of standard output")
    .option("--json", "with --out: print the counts as one line of JSON instead")
    .addHelpText(
      "after",
      `
A line is one action on a case, in the form that caseflow import reads without a mapping. The same cases give the same
bytes; imported into an empty tenant they give the same states there, and that tenant's export the same bytes again.
docs/import.md says what an export leaves out.

The service is the one that CASE_URL names, or the running local stack's. The token is CASEFLOW_TOKEN, or the local
stack's caseworker's.

Examples:
  caseflow export --out cases.ndjson
  caseflow export | gzip > cases.ndjson.gz`,
    )
    .action(async ({ out }: { out?: string }, command: Command) => {
      await using cases = createCaseClient(await findService(config));
      if (out === undefined) {
        await exportCases(cases, (line) => writeLine(process.stdout, line));
        return;
      }
      const counts = await writeWhole(out, (file) => exportCases(cases, (line) => writeLine(file, line)));
      print(command, `cases=${counts.cases} actions=${counts.actions}`, counts);
    });
}
