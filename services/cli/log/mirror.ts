import type { Command } from "commander";
import { createAuditClient } from "#libs/client/audit-client.ts";
import { FolderLocked } from "#libs/files/lock-folder.ts";
import { encodeBase64 } from "#libs/merkle/base64.ts";
import type { NoteVerifier } from "#libs/merkle/signed-note.ts";

import type { CliConfig } from "../config.ts";
import { Failure } from "../failure.ts";
import { findAuditService } from "../find-service.ts";
import { keepHeapSmall } from "../import/keep-heap-small.ts";
import { openProgress } from "../import/progress.ts";
import { print } from "../print.ts";
import { addKey, findLogKeys } from "../verifier-keys.ts";
import { openServiceLog } from "./open-service-log.ts";
import { updateMirror } from "./update-mirror.ts";

/** `caseflow log mirror`: a folder with the whole log, as any static server can serve it and stock tools read it. */
export function addMirrorCommand(log: Command, config: CliConfig): void {
  log
    .command("mirror <folder>")
    .description("write the whole log into a folder, or bring the folder up to date")
    .option("--vkey <key>", "a key of the log, known from elsewhere; once for each key", addKey)
    .option("--json", "print one line of JSON instead")
    .addHelpText("after", helpText)
    .action(async (folder: string, { vkey }: { vkey?: readonly NoteVerifier[] }, command: Command) => {
      keepHeapSmall();
      await using audit = createAuditClient(await findAuditService(config));
      const keys = await findLogKeys(audit, vkey, command);
      using progress = openProgress(process.stderr, "events");
      progress.begin("mirroring", 0);
      const options = { folder, keys, service: openServiceLog(audit), onEntry: () => progress.step() };
      const { addedCount: added, checkpoint } = await updateMirror(options).catch(tellLocked);
      const { size, origin, root } = checkpoint;
      const data = { added, size, root: encodeBase64(root), origin };
      print(command, `added=${added} size=${size} root=${data.root} checkpoint of ${origin}`, data);
    });
}

function tellLocked(error: unknown): never {
  throw error instanceof FolderLocked ? new Failure(error.message, { cause: error }) : error;
}

const helpText = `
The folder is a tiled log (C2SP tlog-tiles): checkpoint, tile/ and tile/entries/. Keep it on another machine than the service's, run
this as often as you like, and serve it by any web server. Every hash is computed anew; what does not go on from the folder's
own checkpoint is refused with exit code 16. It may be stopped or killed at any moment: the folder is then the log that it was, and the
same command goes on.

The service is the one that AUDIT_URL names, or the running local stack's. The token is CASEFLOW_TOKEN, or the local
stack's auditor's.

Examples:
  caseflow log mirror /srv/logs/acme --vkey "$(cat log.vkey)"
  caseflow verify /srv/logs/acme --vkey "$(cat log.vkey)"`;
