import { access } from "node:fs/promises";
import type { Command } from "commander";
import { createCaseAdminClient } from "#libs/client/case-admin-client.ts";
import { createCaseClient } from "#libs/client/case-client.ts";

import type { CliConfig } from "./config.ts";
import { Failure } from "./failure.ts";
import { findServiceForImport, readIdentity } from "./find-service.ts";
import { createDryApplier, createFindPolicy, createLiveApplier } from "./import/apply.ts";
import { createPlanExportRow } from "./import/export-row.ts";
import { createFindCase } from "./import/find-case.ts";
import { importRows } from "./import/import-rows.ts";
import { keepHeapSmall } from "./import/keep-heap-small.ts";
import { readMapping, type Mapping } from "./import/mapping.ts";
import { createPlanRow, type PlanRow } from "./import/plan-row.ts";
import { openProgress, type Progress } from "./import/progress.ts";
import { readRows } from "./import/read-rows.ts";
import { createTally, writeReport, type Tally } from "./import/report.ts";
import { openStaging, type Staging } from "./import/staging.ts";
import { print } from "./print.ts";
import { stopOnSignal } from "./stop-on-signal.ts";

interface Options {
  readonly mapping?: string;
  readonly dryRun?: boolean;
  readonly report?: string;
}

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
    .action(async (file: string, options: Options, command: Command) => {
      keepHeapSmall();
      const stop = new AbortController();
      using _signals = stopOnSignal(stop, new Failure("stopped: the same command goes on from here"));
      const { counts, reasons } = await runImport(config, file, options, stop);
      for (const line of reasons()) console.error(line);
      const { applied, skipped, failed } = counts;
      print(command, `applied=${applied} skipped=${skipped} failed=${failed}`, { ...counts });
      if (stop.signal.aborted) throw stop.signal.reason;
    });
}

async function runImport(
  config: CliConfig,
  file: string,
  options: Options,
  stop: AbortController,
): Promise<Tally> {
  await access(file).catch((error: Error) => {
    throw new Failure(`the file cannot be read: ${error.message}`);
  });
  const mapping = options.mapping === undefined ? undefined : await readMapping(options.mapping);
  const format = formatOf(file, mapping);
  const { url, token } = await findServiceForImport(config);
  const { tenantId, principalId, roles } = readIdentity(token);
  if (!roles.includes("importer")) throw new Failure("the token has no role importer, which an import needs");
  const own = roles.find((role) => ["caseworker", "reviewer", "supervisor"].includes(role));
  if (own !== undefined)
    throw new Failure(`the token has role ${own} beside importer: an importer acts for others alone`);

  await using cases = createCaseClient({ url, token });
  await using admin = createCaseAdminClient({ url, token });
  using staging = openStaging();
  using progress = openProgress(process.stderr);
  const tally = createTally();
  const plan = mapping ? createPlanRow(mapping, tenantId) : createPlanExportRow(tenantId);
  const { signal } = stop;
  progress.begin("reading", 0);
  const total = await stage(readRows(file, format, mapping?.delimiter), plan, {
    staging,
    tally,
    progress,
    signal,
  });

  progress.begin(options.dryRun ? "deciding" : "importing", total);
  const findPolicy = createFindPolicy(admin, signal);
  const import_ = {
    staging,
    findCase: createFindCase({ cases, staging, principalId, signal }),
    findPolicy,
    applier: options.dryRun ? createDryApplier(findPolicy) : createLiveApplier(cases, signal),
    onSettled: ({ row }: { readonly row: number }, settled: Parameters<Tally["add"]>[1]) => {
      tally.add(row, settled);
      progress.step();
    },
  };
  // Its failure is the reason why `stop` was aborted, and told once counts and report are out.
  await importRows(import_, stop).catch((error: unknown) => stop.abort(error));
  if (options.report !== undefined) await writeReport(options.report, staging.report());
  return tally;
}

/** Puts every row where it can be read back in order; returns how many there are to be imported. */
async function stage(
  rows: ReturnType<typeof readRows>,
  plan: PlanRow,
  to: {
    readonly staging: Staging;
    readonly tally: Tally;
    readonly progress: Progress;
    readonly signal: AbortSignal;
  },
): Promise<number> {
  let total = 0;
  for await (const row of rows) {
    if (to.signal.aborted) break;
    const planned = plan(row);
    const settled = to.staging.add(planned);
    if (settled) to.tally.add(row.row, { ...settled, detail: planned.kind === "none" ? planned.detail : "" });
    else total += 1;
    to.progress.step();
  }
  return total;
}

function formatOf(file: string, mapping: Mapping | undefined): "csv" | "ndjson" {
  if (mapping?.format) return mapping.format;
  if (/\.(ndjson|jsonl)$/i.test(file) || mapping === undefined) return "ndjson";
  if (/\.csv$/i.test(file)) return "csv";
  throw new Failure(
    `what ${file} is cannot be told from its name: set format in the mapping to csv or ndjson`,
  );
}
