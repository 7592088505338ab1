import { randomUUID } from "node:crypto";
import type { Command } from "commander";

import type { CliConfig } from "../config.ts";
import { Failure } from "../failure.ts";
import { print } from "../print.ts";
import { openAdmin, readEventId, reasonOf, whoCalls } from "./open-admin.ts";

/** `caseflow dead-letters skip EVENT --reason WHY`: puts a tombstone in an event's place. */
export function addSkipCommand(letters: Command, config: CliConfig): void {
  letters
    .command("skip")
    .description(
      "give a dead letter up for good: a tombstone takes its place, and what waits behind it is delivered",
    )
    .argument("<event-id>", "the event, by exact id", readEventId)
    .requiredOption("--reason <text>", "why, for the audit log: at most 4,000 characters")
    .option("--json", "print one line of JSON instead")
    .addHelpText(
      "after",
      `
The tombstone tells who skipped the event, why, and the event's digest; it stays in the audit log. What the event itself tells is
then only in the case service. Look at it with caseflow dead-letters show first.
${whoCalls}

Examples:
  caseflow dead-letters skip 01936f5e-8a30-7c4e-9f51-2a7d3b1c0e64 --reason "its id was taken by intake, ticket 4711"`,
    )
    .action(async (eventId: string, { reason }: { reason: string }, command: Command) => {
      await using admin = await openAdmin(config);
      const { tombstoneEventId } = await admin
        .skipDeadLetter({ requestId: randomUUID(), eventId, reason })
        .catch((error: unknown) => {
          throw toFailure(error, eventId);
        });
      print(command, `Skipped: the tombstone ${tombstoneEventId} takes its place`, {
        eventId,
        tombstoneEventId,
      });
    });
}

function toFailure(error: unknown, eventId: string): unknown {
  switch (reasonOf(error)) {
    case "EVENT_NOT_FOUND":
      return new Failure(`${eventId} is no dead letter: caseflow dead-letters list shows them`);
    case "HISTORY_FORKED":
      return new Failure(
        `the audit service has another history there, so that no tombstone can stand: see caseflow dead-letters show ${eventId} (HISTORY_FORKED)`,
      );
    case "REASON_REQUIRED":
      return new Failure("a reason of nothing but blanks is none (REASON_REQUIRED)");
    default:
      return error;
  }
}
