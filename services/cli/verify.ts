import { toJson } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import type { Command } from "commander";
import { createAuditClient } from "#libs/client/audit-client.ts";
import { readStack } from "#libs/client/stack.ts";
import { type Reconciliation, ReconciliationSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { encodeBase64 } from "#libs/merkle/base64.ts";
import type { NoteVerifier } from "#libs/merkle/signed-note.ts";

import type { CliConfig } from "./config.ts";
import { findAuditService, type Service } from "./find-service.ts";
import { keepHeapSmall } from "./import/keep-heap-small.ts";
import { openProgress } from "./import/progress.ts";
import { keepCheckpoint, readKept } from "./kept-checkpoint.ts";
import { openServiceLog } from "./log/open-service-log.ts";
import { print } from "./print.ts";
import { addKey, toLogKeys } from "./verifier-keys.ts";
import { exitCodes, toLine, unreadable, Unverified } from "./verify/fault.ts";
import { judgeExport } from "./verify/judge-export.ts";
import type { JudgeOptions } from "./verify/judge-log.ts";
import { judgePath, judgeUrl, type SourceVerdict } from "./verify/judge-source.ts";
import type { LogKeys } from "./verify/read-signed.ts";

interface Options {
  readonly vkey: readonly NoteVerifier[];
  readonly state?: string;
}

/** `caseflow verify`: whether a log is what was signed, whole, and keeps to the rules; offline. */
export function addVerifyCommand(program: Command, config: CliConfig): void {
  program
    .command("verify [source]")
    .description(
      "check a log, a mirror, a case's history or one proof, without trusting whoever runs the services",
    )
    .requiredOption("--vkey <key>", "a key of the log, known from elsewhere; once for each key", addKey)
    .option(
      "--state <file>",
      "keep the last good checkpoint here, and refuse a log that does not go on from it",
    )
    .option("--json", "print one line of JSON instead")
    .addHelpText("after", helpText)
    .action(async (source: string | undefined, options: Options, command: Command) => {
      const keys = toLogKeys(options.vkey, command);
      try {
        const verdict = await verify(source, keys, options.state, command, config);
        if (verdict.kind !== "proof" && verdict.tombstoneCount > 0)
          console.error(tellTombstones(verdict.tombstoneCount));
        print(command, tellVerdict(verdict), { verified: true, exit: 0, ...toData(verdict) });
      } catch (error) {
        if (error instanceof Unverified && command.opts<{ json?: boolean }>().json) {
          const exit = exitCodes[error.fault.kind];
          console.log(JSON.stringify({ verified: false, exit, fault: error.fault }));
        }
        throw error;
      }
    });
}

const helpText = `
The source is an export (caseflow log export), the folder or the URL of a mirror (caseflow log mirror), a case's history or a
proof (caseflow log proof). What is checked, and what cannot be: docs/verification.md. The URL of an audit service will do too: then its
log is exported with CASEFLOW_TOKEN, or the local stack's auditor's. Without a source it is the service that AUDIT_URL names, or the
local stack's.

Take the key from somewhere else than the log: whoever rewrites a log signs it anew, with a key of their own.

Exit code: 0 verified; 2 not understood; 3 cannot be read; 10 signature; 11 root; 12 inclusion; 13 gap; 14 chain; 15 rule;
16 fork or rollback. The first fault is told on standard error.

Examples:
  caseflow verify log.ndjson --vkey "$(cat log.vkey)"
  caseflow verify https://mirror.example/acme --vkey "$(cat log.vkey)" --state acme.checkpoint
  caseflow verify decision.tlog-proof --vkey "$(cat log.vkey)" --json
  caseflow verify --vkey "$(cat log.vkey)" --state acme.checkpoint`;

async function verify(
  source: string | undefined,
  keys: LogKeys,
  state: string | undefined,
  command: Command,
  config: CliConfig,
): Promise<SourceVerdict> {
  keepHeapSmall();
  using progress = openProgress(process.stderr, "events");
  progress.begin("verifying", 0);
  const kept = state === undefined ? undefined : await readKept(state, keys);
  const options: JudgeOptions = { keys, kept, onEntry: () => progress.step() };
  const verdict = await judgeSource(source, options, config);
  if (state === undefined) return verdict;
  if (verdict.kind !== "log") command.error("error: --state asks for a whole log, and this is a part of one");
  await keepCheckpoint(state, verdict.checkpoint, keys);
  return verdict;
}

async function judgeSource(
  source: string | undefined,
  options: JudgeOptions,
  config: CliConfig,
): Promise<SourceVerdict> {
  if (source === undefined) return judgeService(await findAuditService(config), options);
  if (!/^https?:\/\//i.test(source)) return judgePath(source, options);
  const url = URL.parse(source);
  if (!url) throw unreadable(`${source} is no URL.`);
  return (await judgeUrl(url, options)) ?? judgeService(await toService(url, config), options);
}

/** The audit service at a URL without a mirror. A service has no path; and our token is for nobody else. */
async function toService(url: URL, config: CliConfig): Promise<Service> {
  const nothing = `There is no checkpoint below ${url.href}`;
  if (url.pathname !== "/") throw unreadable(`${nothing}: it is no mirror of a log.`);
  const stack = config.token === undefined ? await readStack(config.home).catch(() => undefined) : undefined;
  const token = config.token ?? (stack?.audit.url === url.origin ? stack.tokens.auditor : undefined);
  if (token === undefined) {
    throw unreadable(
      `${nothing}. If it is an audit service, set CASEFLOW_TOKEN to a token with the role auditor.`,
    );
  }
  return { url: url.origin, token };
}

/** Judges the whole log of an audit service, as it exports it. */
async function judgeService(service: Service, options: JudgeOptions): Promise<SourceVerdict> {
  await using audit = createAuditClient(service);
  let count = 0;
  const onEntry = (): void => {
    count += 1;
    options.onEntry?.();
  };
  try {
    const log = openServiceLog(audit).exportFrom(0);
    return { kind: "log", ...(await judgeExport(log, { ...options, onEntry })) };
  } catch (cause) {
    if (!(cause instanceof ConnectError)) throw cause;
    const what = `${service.url} does not give its log from leaf ${count} on: ${cause.message}.`;
    throw unreadable(what, { cause });
  }
}

function tellTombstones(count: number): string {
  return `note: ${count} ${count === 1 ? "event was" : "events were"} given up and never told; in each one's place stands who gave it up, and why`;
}

function tellVerdict(verdict: SourceVerdict): string {
  const { size, root, origin } = verdict.checkpoint;
  const log = `size=${size} root=${encodeBase64(root)} checkpoint of ${origin}`;
  if (verdict.kind === "proof") {
    const { place, reconciliation } = verdict;
    const proved = `event=${place.eventId} leaf=${place.leafIndex} ${log}`;
    return reconciliation ? `${proved}\n${tellStatement(reconciliation)}` : proved;
  }
  return `events=${verdict.eventCount} subjects=${verdict.subjectCount} ${log}`;
}

function tellStatement({ source, treeSize, entryCount }: Reconciliation): string {
  return `states: of the log's first ${treeSize} events ${entryCount} are of ${toLine(source)}, and they and its delivered entries are the same`;
}

function toData(verdict: SourceVerdict) {
  const { size, root, origin, note } = verdict.checkpoint;
  const checkpoint = { origin, size, root: encodeBase64(root), note };
  if (verdict.kind === "proof") {
    const { kind, place, reconciliation } = verdict;
    const states = reconciliation && toJson(ReconciliationSchema, reconciliation);
    return { kind, ...place, ...(states !== undefined && { states }), checkpoint };
  }
  const { kind, eventCount: events, subjectCount: subjects, tombstoneCount: tombstones } = verdict;
  return { kind, events, subjects, tombstones, checkpoint };
}
