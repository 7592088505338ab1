import { access } from "node:fs/promises";
import { createCaseAdminClient } from "#libs/client/case-admin-client.ts";
import { createCaseClient } from "#libs/client/case-client.ts";

import type { CliConfig } from "../config.ts";
import { Failure } from "../failure.ts";
import { findServiceForImport, readIdentity } from "../find-service.ts";
import { createDryApplier, createFindPolicy, createLiveApplier } from "./apply.ts";
import { createPlanExportRow } from "./export-row.ts";
import { createFindCase } from "./find-case.ts";
import { importRows } from "./import-rows.ts";
import { readMapping, type Mapping } from "./mapping.ts";
import { createPlanRow, type PlanRow } from "./plan-row.ts";
import { openProgress, type Progress } from "./progress.ts";
import { readRows } from "./read-rows.ts";
import { createTally, writeReport, type Tally } from "./report.ts";
import { openStaging, type Staging } from "./staging.ts";

export interface ImportOptions {
  readonly mapping?: string;
  readonly dryRun?: boolean;
  readonly report?: string;
}

/** Runs an import until it is over or `stop` is aborted; returns what became of the rows. */
export async function runImport(
  config: CliConfig,
  file: string,
  options: ImportOptions,
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
