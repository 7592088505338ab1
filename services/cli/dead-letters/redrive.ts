import { randomUUID } from "node:crypto";
import type { Command } from "commander";

import type { CliConfig } from "../config.ts";
import { print } from "../print.ts";
import { openAdmin, readEventId, whoCalls } from "./open-admin.ts";

/** As many as one request takes; each request is an act of its own in the audit log. */
const batchMax = 500;

/** `caseflow dead-letters redrive EVENT…`: has events delivered again. */
export function addRedriveCommand(letters: Command, config: CliConfig): void {
  letters
    .command("redrive")
    .description("queue dead letters for delivery again")
    .argument("<event-id...>", "the events, by exact id", readEventIds)
    .option("--json", "print one line of JSON instead")
    .addHelpText(
      "after",
      `
What was queued is no dead letter any more; should it be refused again, it is one again. Exit 0 when all of them were queued,
1 when some were no dead letters, which are named.
${whoCalls}

Examples:
  caseflow dead-letters redrive 01936f5e-8a30-7c4e-9f51-2a7d3b1c0e64
  caseflow dead-letters list --json | jq -r '.deadLetters[].eventId' | xargs caseflow dead-letters redrive`,
    )
    .action(async (eventIds: readonly string[], _options: unknown, command: Command) => {
      await using admin = await openAdmin(config);
      const asked = [...new Set(eventIds)];
      const redriven: string[] = [];
      for (let start = 0; start < asked.length; start += batchMax) {
        const batch = asked.slice(start, start + batchMax);
        const answer = await admin.redriveDeadLetters({ requestId: randomUUID(), eventIds: batch });
        redriven.push(...answer.redrivenEventIds);
      }
      const known = new Set(redriven);
      const notDead = asked.filter((eventId) => !known.has(eventId));
      const lines = [
        `Queued again: ${redriven.length}`,
        ...notDead.map((eventId) => `No dead letter: ${eventId}`),
      ];
      print(command, lines.join("\n"), { redriven, notDead });
      if (notDead.length > 0) process.exitCode = 1;
    });
}

/** Commander hands over one at a time, with those before. */
function readEventIds(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, readEventId(text)];
}
