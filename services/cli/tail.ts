import { toJson } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { Command } from "commander";
import { createAuditClient } from "#libs/client/audit-client.ts";
import { type AuditedEvent, AuditedEventSchema } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";

import type { CliConfig } from "./config.ts";
import { addFilterOptions, type FilterOptions, toFilter } from "./event-filter.ts";
import { findAuditService } from "./find-service.ts";
import { followEvents } from "./follow-events.ts";
import { toLine, writeLine } from "./print.ts";
import { stopOnSignal } from "./stop-on-signal.ts";

/** `caseflow tail`: the tenant's events as the audit service stores them. */
export function addTailCommand(program: Command, config: CliConfig): void {
  const tail = program
    .command("tail")
    .description("show the tenant's events as the audit service stores them, until Ctrl-C");
  addFilterOptions(tail)
    .option("--json", "print a line of JSON an event instead")
    .addHelpText(
      "after",
      `
A line is leaf index, time, type, subject and sequence, who, the change of state, and why. Only events that come after the
start are shown. When the connection breaks it is made anew, and no event is left out or shown twice.

The service is the one that AUDIT_URL names, or the running local stack's. The token is CASEFLOW_TOKEN, with role auditor, or the
local stack's auditor's. Exit 0 after Ctrl-C, 1 when the service refuses (as when the token has expired).

Examples:
  caseflow tail
  caseflow tail --subject 01936f5e-8a30-7c4e-9f51-2a7d3b1c0e64
  caseflow tail --type caseflow.case.approved --json | jq .event.actor.id`,
    )
    .action(async (options: FilterOptions & { readonly json?: boolean }) => {
      await using audit = createAuditClient(await findAuditService(config));
      const stop = new AbortController();
      using _signals = stopOnSignal(stop);
      const onBreak = (error: Error): void =>
        console.error(`caseflow: ${error.message}; going on in a moment`);
      for await (const event of followEvents(audit, toFilter(options), stop.signal, onBreak)) {
        await writeLine(process.stdout, options.json ? toJsonLine(event) : toText(event));
      }
    });
}

function toJsonLine(event: AuditedEvent): string {
  return JSON.stringify(toJson(AuditedEventSchema, event));
}

/** Columns that fit a case's events; longer ones push the rest to the right. */
function toText({ leafIndex, event }: AuditedEvent): string {
  if (!event?.actor) throw new Error("the answer lacks the event");
  const { actor, occurredAt, type, subject, subjectSequence, fromState, toState, reason } = event;
  const who = actor.onBehalfOf ? `${actor.id} for ${actor.onBehalfOf}` : actor.id;
  const columns: readonly (readonly [string, number])[] = [
    [String(leafIndex), 7],
    [occurredAt ? timestampDate(occurredAt).toISOString() : "", 24],
    [type, 34],
    [`${subject} ${subjectSequence}`, 40],
    [who, 16],
    [fromState === toState ? toState : `${fromState} > ${toState}`, 26],
    [reason, 0],
  ];
  return columns
    .map(([text, width]) => toLine(text).padEnd(width))
    .join("  ")
    .trimEnd();
}
