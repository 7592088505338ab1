import { toJson } from "@bufbuild/protobuf";
import type { Command } from "commander";
import { DeadLetterSchema, type DeadLetter } from "#libs/gen/caseflow/cases/v1/case_admin_service_pb.ts";
import { ActorKind, ActorKindSchema, type Actor } from "#libs/gen/caseflow/event/v1/event_pb.ts";

import type { CliConfig } from "../config.ts";
import { Failure } from "../failure.ts";
import { print, toLine, toTable } from "../print.ts";
import { adviceOn, type Advice } from "./advice.ts";
import { openAdmin, readEventId, toTime, whoCalls } from "./open-admin.ts";

/** `caseflow dead-letters show EVENT`: all that a person needs to decide what to do about it. */
export function addShowCommand(letters: Command, config: CliConfig): void {
  letters
    .command("show")
    .description(
      "show a dead letter: what it tells, why it was given up, what waits behind it, and what each remedy would do",
    )
    .argument("<event-id>", "the event, by exact id", readEventId)
    .option("--json", "print one line of JSON instead")
    .addHelpText(
      "after",
      `${whoCalls}

Examples:
  caseflow dead-letters show 01936f5e-8a30-7c4e-9f51-2a7d3b1c0e64
  caseflow dead-letters show 01936f5e-8a30-7c4e-9f51-2a7d3b1c0e64 --json`,
    )
    .action(async (eventId: string, _options: unknown, command: Command) => {
      await using admin = await openAdmin(config);
      const { deadLetters } = await admin.listDeadLetters({ eventId });
      const [letter] = deadLetters;
      if (!letter) throw new Failure(`${eventId} is no dead letter: caseflow dead-letters list shows them`);
      const advice = adviceOn(letter.reason, letter.tombstoneEventId !== "");
      print(command, toText(letter, advice), { deadLetter: toJson(DeadLetterSchema, letter), advice });
    });
}

function toText(letter: DeadLetter, advice: Advice): string {
  const { eventId } = letter;
  return [
    "The event",
    indent(toTable(toFacts(letter))),
    "",
    "Why it is here",
    indent(toTable(toCircumstances(letter))),
    `  ${advice.meaning}`,
    "",
    `caseflow dead-letters redrive ${eventId}`,
    `  ${advice.redrive}`,
    `caseflow dead-letters skip ${eventId} --reason …`,
    `  ${advice.skip}`,
  ].join("\n");
}

function toFacts({ event, eventId, caseId, eventDigest }: DeadLetter): string[][] {
  if (!event) throw new Error("the answer holds no event");
  const { subject, fromState, toState, reason, legalAuthority, tombstone } = event;
  const rows = [
    ["id", eventId],
    ["type", event.type],
    ["subject", subject === caseId ? `case ${subject}` : subject],
    ["sequence", String(event.subjectSequence)],
    ["states", fromState === "" ? toState : `${fromState} to ${toState}`],
    ["by", toActor(event.actor)],
    ["because", toLine(reason)],
    ["by virtue of", toLine(legalAuthority)],
    ["stands in for", tombstone?.originalEventId ?? ""],
    ["about", event.aboutEventIds.join(", ")],
    ["occurred", toTime(event.occurredAt)],
    ["recorded", toTime(event.recordedAt)],
    ["request", event.requestId],
    ["correlation", toLine(event.correlationId)],
    ["digest", Buffer.from(eventDigest).toString("hex")],
  ];
  return rows.filter(([, value]) => value !== "");
}

function toActor(actor: Actor | undefined): string {
  if (!actor) return "";
  const kind = (ActorKindSchema.value[actor.kind]?.name ?? "").replace("ACTOR_KIND_", "").toLowerCase();
  const roles = actor.roles.length === 0 ? "no roles" : actor.roles.join(", ");
  const whose = actor.onBehalfOf && `, on behalf of ${toLine(actor.onBehalfOf)}`;
  return `${toLine(actor.id)} (${actor.kind === ActorKind.PERSON ? "" : `${kind}: `}${roles})${whose}`;
}

function toCircumstances({ reason, detail, deadAt, waitingCount, tombstoneEventId }: DeadLetter): string[][] {
  const behind =
    waitingCount === 1 ? "1 later event of the subject" : `${waitingCount} later events of the subject`;
  const rows = [
    ["reason", toLine(reason)],
    ["detail", toLine(detail)],
    ["since", toTime(deadAt)],
    ["waiting", waitingCount === 0 ? "nothing yet" : behind],
    ["tombstone", tombstoneEventId],
  ];
  return rows.filter(([, value]) => value !== "");
}

function indent(text: string): string {
  return text.replaceAll(/^/gm, "  ");
}
