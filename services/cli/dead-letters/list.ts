import { toJson } from "@bufbuild/protobuf";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { CaseAdminClient } from "#libs/client/case-admin-client.ts";
import { DeadLetterSchema, type DeadLetter } from "#libs/gen/caseflow/cases/v1/case_admin_service_pb.ts";

import type { CliConfig } from "../config.ts";
import { print, toLine, toTable } from "../print.ts";
import { openAdmin, readEventId, toTime, whoCalls } from "./open-admin.ts";

interface Options {
  readonly case?: string;
  readonly limit: number;
}

const limitMax = 10_000;
const pageSize = 500;

/** `caseflow dead-letters list`: a line a dead letter, the oldest event first. */
export function addListCommand(letters: Command, config: CliConfig): void {
  letters
    .command("list")
    .description("list events whose delivery was given up, the oldest first")
    .option("--case <id>", "only those of this case", readEventId)
    .addOption(
      new Option("--limit <n>", `how many at most, up to ${limitMax}`).argParser(readLimit).default(100),
    )
    .option("--json", "print one line of JSON instead")
    .addHelpText(
      "after",
      `
While an event is a dead letter, the later ones of its case wait; other cases go on. See one of them with
caseflow dead-letters show.
${whoCalls}

Examples:
  caseflow dead-letters list
  caseflow dead-letters list --limit 10000 --json | jq -r '.deadLetters[].eventId' | xargs caseflow dead-letters redrive`,
    )
    .action(async ({ case: caseId = "", limit }: Options, command: Command) => {
      await using admin = await openAdmin(config);
      const { found, more } = await readDeadLetters(admin, caseId, limit);
      print(command, toText(found, more), {
        deadLetters: found.map((letter) => toJson(DeadLetterSchema, letter)),
        more,
      });
    });
}

async function readDeadLetters(
  admin: CaseAdminClient,
  caseId: string,
  limit: number,
): Promise<{ readonly found: readonly DeadLetter[]; readonly more: boolean }> {
  const found: DeadLetter[] = [];
  let pageToken = "";
  do {
    const page = await admin.listDeadLetters({
      caseId,
      pageToken,
      pageSize: Math.min(pageSize, limit - found.length),
    });
    found.push(...page.deadLetters);
    pageToken = page.nextPageToken;
  } while (pageToken !== "" && found.length < limit);
  return { found, more: pageToken !== "" };
}

function toText(found: readonly DeadLetter[], more: boolean): string {
  if (found.length === 0) return "There are no dead letters.";
  const rows = found.map(({ eventId, event, reason, deadAt, waitingCount }) => [
    eventId,
    event?.subject ?? "",
    String(event?.subjectSequence ?? ""),
    event?.type ?? "",
    toLine(reason),
    toTime(deadAt),
    String(waitingCount),
  ]);
  const table = toTable([["EVENT", "SUBJECT", "SEQ", "TYPE", "REASON", "SINCE", "WAITING BEHIND"], ...rows]);
  return more ? `${table}\nThere are more: --limit shows up to ${limitMax}.` : table;
}

function readLimit(text: string): number {
  const limit = Number(text);
  if (/^\d+$/.test(text) && limit >= 1 && limit <= limitMax) return limit;
  throw new InvalidArgumentError(`It is a number from 1 to ${limitMax}.`);
}
