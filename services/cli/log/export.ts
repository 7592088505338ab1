import { createHash } from "node:crypto";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import type { Writable } from "node:stream";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type Command, InvalidArgumentError, Option } from "commander";
import { type AuditClient, createAuditClient } from "#libs/client/audit-client.ts";
import { replaceFile } from "#libs/files/replace-file.ts";
import {
  ExportFormat,
  type ExportEventsRequestSchema,
} from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";

import type { CliConfig } from "../config.ts";
import { addFilterOptions, type FilterOptions, toFilter } from "../event-filter.ts";
import { findAuditService } from "../find-service.ts";
import { openProgress } from "../import/progress.ts";
import { print } from "../print.ts";
import { writeWhole } from "../write-whole.ts";

interface Options extends FilterOptions {
  readonly out?: string;
  readonly format: ExportFormat;
}

interface Exported {
  readonly bytes: number;
  /** Of them, in hex. */
  readonly sha256: string;
  /** Empty where the service could not sign one. */
  readonly manifest: string;
}

/** What an export may take as a whole, in milliseconds. */
const exportMs = 12 * 3_600_000;

const formats = new Map([
  ["ndjson", ExportFormat.NDJSON],
  ["csv", ExportFormat.CSV],
  ["cloudevents", ExportFormat.CLOUDEVENTS],
]);

/** `caseflow log export`: the log as a file, for keeping and checking elsewhere. */
export function addLogExportCommand(log: Command, config: CliConfig): void {
  const command = log
    .command("export")
    .description("write the log, as far as it is signed, to a file")
    .option("--out <file>", "write to this file, and the manifest beside it, instead of to standard output")
    .addOption(
      new Option("--format <name>", `of ${[...formats.keys()].join(", ")}`)
        .argParser(readFormat)
        .default(ExportFormat.NDJSON, "ndjson"),
    );
  addFilterOptions(command)
    .option("--json", "with --out: print what was written as one line of JSON instead")
    .addHelpText(
      "after",
      `
ndjson without a filter is what caseflow verify checks: every event's bytes, and the signed checkpoint in the last line. csv is for
spreadsheets: text that one could take for a formula has an apostrophe before it. cloudevents is one CloudEvents 1.0
object a line. FILE.manifest says in a signed note what FILE holds: filter, count, SHA-256, checkpoint.

Events that no checkpoint covers yet are left out. FILE is there whole or not at all.

The service is the one that AUDIT_URL names, or the running local stack's. The token is CASEFLOW_TOKEN, with role auditor, or the
local stack's auditor's.

Examples:
  caseflow log export --out log.ndjson
  caseflow log export --format csv --actor ada --occurred-from 2026-01-01 --occurred-before 2026-02-01 --out ada.csv
  caseflow log export | gzip > log.ndjson.gz`,
    )
    .action(async (options: Options) => {
      await using audit = createAuditClient(await findAuditService(config));
      const request = { format: options.format, filter: toFilter(options) };
      const { out } = options;
      if (out === undefined) {
        await receive(audit, request, process.stdout);
        return;
      }
      const manifestPath = `${out}.manifest`;
      const { manifest, ...told } = await writeWhole(out, async (file) => {
        const received = await receive(audit, request, file);
        await rm(manifestPath, { force: true }); // Of an earlier export: it does not fit this one.
        return received;
      });
      if (manifest === "") console.error("caseflow: no manifest: the service has no key at hand to sign one");
      else await replaceFile(manifestPath, manifest, 0o600);
      const written = { ...told, file: out, manifest: manifest === "" ? null : manifestPath };
      print(command, `bytes=${told.bytes} sha256=${told.sha256}`, written);
    });
}

/** Writes the pieces of an export as they come, no faster than they are taken. */
async function receive(
  audit: AuditClient,
  request: MessageInitShape<typeof ExportEventsRequestSchema>,
  to: Writable,
): Promise<Exported> {
  using progress = openProgress(process.stderr, "KiB");
  progress.begin("exporting", 0);
  const hash = createHash("sha256");
  let bytes = 0;
  let shownKiB = 0;
  let manifest = "";
  for await (const piece of audit.exportEvents(request, { timeoutMs: exportMs })) {
    ({ manifest } = piece);
    hash.update(piece.data);
    bytes += piece.data.length;
    if (!to.write(piece.data)) await once(to, "drain");
    const kiB = Math.ceil(bytes / 1_024);
    progress.step(kiB - shownKiB);
    shownKiB = kiB;
  }
  return { bytes, sha256: hash.digest("hex"), manifest };
}

function readFormat(text: string): ExportFormat {
  const format = formats.get(text);
  if (format !== undefined) return format;
  throw new InvalidArgumentError(`It is one of ${[...formats.keys()].join(", ")}.`);
}
