import type { Command } from "commander";

import type { CliConfig } from "./config.ts";
import { Failure } from "./failure.ts";
import { keepHeapSmall } from "./import/keep-heap-small.ts";
import type { ImportOptions } from "./import/run-import.ts";
import { print } from "./print.ts";
import { stopOnSignal } from "./stop-on-signal.ts";

/** `caseflow import FILE`: brings another system's actions in, one row one command. */
export function addImportCommand(program: Command, config: CliConfig): void {
  program
    .command("import <file>")
    .description("bring in another system's actions from a CSV or NDJSON file")
    .option("--mapping <file>", "how its rows become commands (YAML); not for a file of caseflow export")
    .option("--dry-run", "tell what would become of each row, and write nothing")
    .option("--report <file>", "write a line of JSON for each row")
    .option("--json", "print the counts as one line of JSON instead")
    .addHelpText(
      "after",
      `
Rows are applied in the order of their time, case by case. Stopped, killed or repeated, a run goes on where it ended:
what was applied is skipped. A row that fails does not stop the others. docs/import.md describes the mapping.

The service is the one that CASE_URL names, or the running local stack's. The token is CASEFLOW_TOKEN, with role importer.
Exit 0 when the run finished, 1 when it was stopped or given up, 2 when it was not understood.

Examples:
  caseflow import permits.csv --mapping services/cli/import/permits.yaml --dry-run --report expected.ndjson
  caseflow import permits.csv --mapping services/cli/import/permits.yaml --report done.ndjson
  caseflow export --out cases.ndjson && CASEFLOW_TOKEN=… caseflow import cases.ndjson`,
    )
    .action(async (file: string, options: ImportOptions, command: Command) => {
      keepHeapSmall();
      const stop = new AbortController();
      using _signals = stopOnSignal(stop, new Failure("stopped: the same command goes on from here"));
      const { runImport } = await import("./import/run-import.ts"); // Much to load, and only for this command.
      const { counts, reasons } = await runImport(config, file, options, stop);
      for (const line of reasons()) console.error(line);
      const { applied, skipped, failed } = counts;
      print(command, `applied=${applied} skipped=${skipped} failed=${failed}`, { ...counts });
      if (stop.signal.aborted) throw stop.signal.reason;
    });
}
