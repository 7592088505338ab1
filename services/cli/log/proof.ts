import type { Command } from "commander";
import { type AuditClient, createAuditClient } from "#libs/client/audit-client.ts";
import { replaceFile } from "#libs/files/replace-file.ts";
import type { NoteVerifier } from "#libs/merkle/signed-note.ts";

import type { CliConfig } from "../config.ts";
import { findAuditService } from "../find-service.ts";
import { addKey, findLogKeys } from "../verifier-keys.ts";
import { judgeFile } from "../verify/judge-source.ts";
import { proveEvent } from "./prove-event.ts";
import { proveHistory, proveHistoryUpTo } from "./prove-history.ts";

interface Options {
  readonly history?: true;
  readonly subject?: string;
  readonly out?: string;
  readonly vkey?: readonly NoteVerifier[];
}

const fileMode = 0o600;
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** `caseflow log proof`: a file by which anybody can check one event, or one subject's history, without the service. */
export function addProofCommand(log: Command, config: CliConfig): void {
  log
    .command("proof [event]")
    .description("write a proof of one event, or of a subject's history, that can be verified years later")
    .option("--history", "prove the event together with all of its subject's before it")
    .option("--subject <id>", "prove the history of this subject, such as a case, up to now")
    .option("--out <file>", "write to this file instead of standard output")
    .option("--vkey <key>", "a key of the log, known from elsewhere; once for each key", addKey)
    .addHelpText("after", helpText)
    .action(async (eventId: string | undefined, options: Options, command: Command) => {
      if ((eventId === undefined) === (options.subject === undefined)) {
        command.error("error: name an event, or a subject with --subject");
      }
      if (eventId !== undefined && !uuid.test(eventId))
        command.error(`error: ${eventId} is no id of an event`);
      await using audit = createAuditClient(await findAuditService(config));
      const keys = await findLogKeys(audit, options.vkey, command);
      const text = await prove(audit, eventId, options);
      await judgeFile(piecesOf(text), { keys }); // What does not hold is never written.
      if (options.out === undefined) process.stdout.write(text);
      else await replaceFile(options.out, text, fileMode);
    });
}

async function prove(audit: AuditClient, eventId: string | undefined, options: Options): Promise<string> {
  const { subject = "", history } = options;
  if (eventId === undefined) return proveHistory(audit, { subject });
  return history ? proveHistoryUpTo(audit, eventId) : proveEvent(audit, eventId);
}

async function* piecesOf(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text);
}

const helpText = `
A proof of one event is a C2SP tlog-proof with the event's bytes in it. A history is NDJSON: a line for each event of the subject, from
the first one on, with a proof each, and the signed checkpoint; nothing of other subjects is in it. Either is verified before it is
written, and by anybody, at any time, with caseflow verify and the log's key. docs/verification.md tells what they prove.

The service is the one that AUDIT_URL names, or the running local stack's. The token is CASEFLOW_TOKEN, or the local
stack's auditor's.

Examples:
  caseflow log proof 01936f5e-8a30-7c4e-9f51-2a7d3b1c0e64 --out decision.tlog-proof
  caseflow log proof 01936f5e-8a30-7c4e-9f51-2a7d3b1c0e64 --history --out up-to-the-decision.ndjson
  caseflow log proof --subject 01936f5d-11c2-7d4f-8b3e-5a6b7c8d9e0f --out case.ndjson
  caseflow verify decision.tlog-proof --vkey "$(cat log.vkey)"`;
