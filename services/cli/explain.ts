import { toJson } from "@bufbuild/protobuf";
import { timestampDate, type Timestamp } from "@bufbuild/protobuf/wkt";
import type { Command } from "commander";
import { createCaseClient } from "#libs/client/case-client.ts";
import {
  CaseAction,
  CaseSchema,
  CaseState,
  CaseStateSchema,
  type Case,
} from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import { HistoryEntrySchema, type HistoryEntry } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";

import type { CliConfig } from "./config.ts";
import { findMissing } from "./find-missing.ts";
import { findService } from "./find-service.ts";
import { print, toLine } from "./print.ts";
import { personOf, readHistory } from "./read-cases.ts";

/** `caseflow explain CASE`: the reasoning of a decision, as a person would read it. */
export function addExplainCommand(program: Command, config: CliConfig): void {
  program
    .command("explain <id>")
    .description(
      "tell how a case came to where it stands: who, what, when, why, for whom, under which policy",
    )
    .option("--json", "print one line of JSON instead")
    .addHelpText(
      "after",
      `
What happened is told in order, then what the decision rests on, then what is missing for the next one.

The service is the one that CASE_URL names, or the running local stack's. The token is CASEFLOW_TOKEN, or the local
stack's caseworker's.

Examples:
  caseflow explain 01936f5e-8a30-7c4e-9f51-2a7d3b1c0e64
  caseflow explain 01936f5e-8a30-7c4e-9f51-2a7d3b1c0e64 --json`,
    )
    .action(async (caseId: string, _options: unknown, command: Command) => {
      await using cases = createCaseClient(await findService(config));
      const { case: found } = await cases.getCase({ caseId });
      if (!found) throw new Error("the answer holds no case");
      const entries = await Array.fromAsync(readHistory(cases, caseId));
      const missing = findMissing(found, entries, new Date());
      print(command, explain(found, entries, missing), {
        case: toJson(CaseSchema, found),
        history: entries.map((entry) => toJson(HistoryEntrySchema, entry)),
        missing,
      });
    });
}

/** The whole explanation; its lines hold no control characters, whatever people wrote as their reasons. */
export function explain(found: Case, entries: readonly HistoryEntry[], missing: readonly string[]): string {
  return [
    `Case ${found.caseId}${found.externalReference && ` (${toLine(found.externalReference)})`}`,
    `${found.content ? toLine(found.content.title) : "Its content was erased"}: ${found.caseType}, ${nameOf(found.state)}`,
    `Judged under ${toPolicy(found)}`,
    "",
    "What happened",
    ...entries.flatMap(toStep),
    "",
    "What the decision rests on",
    ...toGrounds(found, entries).map((line) => `  ${line}`),
    "",
    "What is missing",
    ...(missing.length === 0 ? ["nothing"] : missing).map((line) => `  ${line}`),
  ].join("\n");
}

const deeds: Readonly<Record<string, string>> = {
  "caseflow.case.created": "opened the case",
  "caseflow.case.updated": "changed what it says",
  "caseflow.case.submitted": "submitted it",
  "caseflow.case.reviewer_assigned": "named the reviewer",
  "caseflow.case.review_started": "started the review",
  "caseflow.case.approval_recorded": "approved; another approval was still to come",
  "caseflow.case.approved": "approved, which decided it",
  "caseflow.case.rejected": "rejected it",
  "caseflow.case.appealed": "appealed",
  "caseflow.case.appeal_review_started": "started the review of the appeal",
  "caseflow.case.appeal_approved": "allowed the appeal",
  "caseflow.case.appeal_rejected": "dismissed the appeal",
  "caseflow.case.override_proposed": "proposed to override the decision",
  "caseflow.case.overridden": "carried the override out, as the second supervisor",
  "caseflow.case.closed": "closed it",
  "caseflow.case.held": "placed a legal hold",
  "caseflow.case.hold_released": "released the legal hold",
  "caseflow.case.erased": "erased its content",
};

function toStep(entry: HistoryEntry): string[] {
  const { version, actor, eventType, assigneeId, fromState, toState } = entry;
  const moved = fromState === toState ? "" : `, now ${nameOf(toState)}`;
  const about = assigneeId && ` ${assigneeId}`;
  const through =
    actor && actor.onBehalfOf
      ? `recorded by ${actor.id} (${actor.roles.join(", ")}) on behalf of ${actor.onBehalfOf}`
      : "";
  const recorded = toTime(entry.recordedAt);
  const occurred = toTime(entry.occurredAt);
  const times = occurred === recorded ? "" : `recorded ${recorded}`;
  const decides =
    entry.decisionHash.length === 0
      ? ""
      : `decision ${hex(entry.decisionHash)}, policy version ${entry.policyVersion}`;
  const notes = [
    [through, times].filter(Boolean).join(", "),
    entry.reason && `because: ${toLine(entry.reason)}`,
    entry.legalAuthority && `by virtue of: ${toLine(entry.legalAuthority)}`,
    decides,
  ];
  const deed = deeds[eventType] ?? eventType;
  return [
    `  ${String(version).padStart(2)}  ${occurred}  ${personOf(entry)} ${deed}${about}${moved}`,
    ...notes.filter(Boolean).map((note) => `      ${note}`),
  ];
}

/** Approvals with the hash that they share, appeal and override. */
function toGrounds(found: Case, entries: readonly HistoryEntry[]): string[] {
  const lines: string[] = [];
  const decisions = entries.filter(
    ({ action }) => action === CaseAction.APPROVE || action === CaseAction.REJECT,
  );
  const hashes = [...new Set(decisions.map(({ decisionHash }) => hex(decisionHash)))];
  if (found.approverIds.length > 0) {
    lines.push(
      `${found.approverIds.length} of ${found.approvalsRequired} approvals: ${found.approverIds.join(", ")}`,
    );
  }
  if (found.rejecterId !== "") lines.push(`rejected by ${found.rejecterId}`);
  if (decisions.length === 0) lines.push("nobody has decided anything yet");
  else {
    const which = hashes.length === 1 ? "all of it about one decision" : "ABOUT DIFFERENT DECISIONS";
    lines.push(`${which}: ${hashes.join(", ")}`);
  }
  if (found.overriderIds.length > 0) {
    const [proposer = "", second = ""] = found.overriderIds;
    lines.push(`overridden by ${proposer} and ${second} on ${toTime(found.overriddenAt)}`);
  }
  const { appeal } = found;
  if (appeal) {
    const outcome = appeal.outcome === CaseState.UNSPECIFIED ? "not decided yet" : nameOf(appeal.outcome);
    const reviewer =
      appeal.reviewerId && `, reviewed by ${appeal.reviewerId}, who had no part in the decision`;
    lines.push(`appealed by ${appeal.appellantId} on ${toTime(appeal.appealedAt)}${reviewer}: ${outcome}`);
  }
  return lines;
}

function toPolicy({ policyVersion, approvalsRequired, appealWindowDays }: Case): string {
  const policy = policyVersion === 0 ? "the built-in policy" : `policy version ${policyVersion}`;
  const approvals =
    approvalsRequired === 1 ? "1 approval" : `${approvalsRequired} approvals by different people`;
  const appeals = appealWindowDays === 0 ? "no appeal" : `appeal within ${appealWindowDays} days`;
  return `${policy}: ${approvals}, ${appeals}`;
}

function nameOf(state: CaseState): string {
  return (CaseStateSchema.value[state]?.name ?? "")
    .replace("CASE_STATE_", "")
    .toLowerCase()
    .replaceAll("_", " ");
}

function toTime(time: Timestamp | undefined): string {
  return time ? timestampDate(time).toISOString() : "";
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
