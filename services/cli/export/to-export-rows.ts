import { createHash } from "node:crypto";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { CaseAction, CaseState, type Case } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import type { HistoryEntry } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import type { Content } from "#services/case/domain/case.ts";

import type { ExportRow } from "../import/export-row.ts";
import { personOf } from "../read-cases.ts";

/** What stands for content that was erased: a case cannot be submitted without any. */
const erased: Content = {
  title: "Erased",
  summary: "Erased",
  people: [{ name: "Erased", role: "erased", contact: "" }],
};

/** The actions on a case as an import repeats them; holds and erasure are an operator's, and left out. */
export function toExportRows(
  found: Case,
  entries: readonly HistoryEntry[],
): { readonly birth: string; readonly rows: readonly Omit<ExportRow, "case" | "row">[] } {
  const rows = entries.flatMap((entry) => {
    const command = toCommand(found, entry);
    if (command === undefined) return [];
    const { approvalsRequired, appealWindowDays } = found;
    const policy = command.action === "create" && { policy: { appealWindowDays, approvalsRequired } };
    return [{ actor: personOf(entry), command, occurredAt: toTime(entry), ...policy }];
  });
  return { birth: toBirth(found, entries), rows };
}

/** Tells a case from others, whatever happens to it later: SHA-256 of what was so at its creation. */
function toBirth(
  { caseType, externalReference, creatorId }: Case,
  [created]: readonly HistoryEntry[],
): string {
  const facts = [externalReference, caseType, creatorId, created ? toTime(created) : ""];
  return createHash("sha256").update(JSON.stringify(facts)).digest("hex");
}

function toTime({ occurredAt }: HistoryEntry): string {
  if (!occurredAt) throw new Error("the answer lacks a time");
  return timestampDate(occurredAt).toISOString();
}

function toCommand(found: Case, entry: HistoryEntry): ExportRow["command"] | undefined {
  const { reason, legalAuthority, assigneeId } = entry;
  switch (entry.action) {
    case CaseAction.CREATE: {
      const { caseType, externalReference } = found;
      return { action: "create", caseType, externalReference, content: contentOf(found) };
    }
    case CaseAction.UPDATE:
      // History tells no earlier content than the present.
      return { action: "update", content: contentOf(found), fields: ["title", "summary", "people"] };
    case CaseAction.SUBMIT:
      return { action: "submit" };
    case CaseAction.ASSIGN_REVIEWER:
      return { action: "assign_reviewer", reviewerId: assigneeId };
    case CaseAction.START_REVIEW:
      return { action: "start_review" };
    case CaseAction.APPROVE:
      return { action: "approve", reason };
    case CaseAction.REJECT:
      return { action: "reject", reason };
    case CaseAction.APPEAL:
      return { action: "appeal", grounds: reason };
    case CaseAction.START_APPEAL_REVIEW:
      return { action: "start_appeal_review" };
    case CaseAction.APPROVE_APPEAL:
      return { action: "approve_appeal", reason };
    case CaseAction.REJECT_APPEAL:
      return { action: "reject_appeal", reason };
    case CaseAction.OVERRIDE: {
      // To propose is to ask for the other decision than the one that stands.
      const target = entry.fromState === CaseState.APPROVED ? "rejected" : "approved";
      return { action: "override", target, reason, legalAuthority };
    }
    case CaseAction.CLOSE:
      return { action: "close", reason };
    case CaseAction.PLACE_HOLD:
    case CaseAction.RELEASE_HOLD:
    case CaseAction.ERASE:
      return undefined;
    default:
      throw new Error(`the service knows an action ${entry.action} that this release does not`);
  }
}

function contentOf({ content }: Case): Content {
  if (!content) return erased;
  const { title, summary, people } = content;
  return { title, summary, people: people.map(({ name, role, contact }) => ({ name, role, contact })) };
}
