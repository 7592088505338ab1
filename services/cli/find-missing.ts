import { timestampMs } from "@bufbuild/protobuf/wkt";
import { CaseAction, CaseState, type Case } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import type { HistoryEntry } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";

const dayMs = 24 * 3_600_000;

/**
 * What a case still lacks for its next decision, and what its history lacks to be whole; a sentence each, none where
 * nothing is missing. Whether the audit service has every event is for `caseflow reconcile` to say.
 */
export function findMissing(found: Case, entries: readonly HistoryEntry[], now: Date): readonly string[] {
  return [...findWork(found, now), ...findFaults(found, entries)];
}

function findWork(found: Case, now: Date): string[] {
  const work: string[] = [];
  if (found.overrideProposal) {
    const { proposerId } = found.overrideProposal;
    work.push(
      `a second supervisor, other than ${proposerId} and the submitter, to carry the proposed override out`,
    );
  }
  switch (found.state) {
    case CaseState.DRAFT:
      work.push("its submission");
      break;
    case CaseState.SUBMITTED:
      work.push(
        found.assignedReviewerId === ""
          ? "a reviewer, other than the submitter"
          : `the start of the review by ${found.assignedReviewerId}`,
      );
      break;
    case CaseState.UNDER_REVIEW:
      work.push(findApprovals(found));
      break;
    case CaseState.APPEALED:
      work.push("the start of the appeal's review, by somebody who had no part in the decision");
      break;
    case CaseState.APPEAL_UNDER_REVIEW:
      work.push(`the decision of the appeal by ${found.reviewStartedById}`);
      break;
    case CaseState.APPROVED:
    case CaseState.REJECTED: {
      const decidedAt = found.overriddenAt ?? found.decidedAt;
      const untilMs = decidedAt ? timestampMs(decidedAt) + found.appealWindowDays * dayMs : 0;
      if (found.appealWindowDays > 0 && untilMs >= now.getTime()) {
        work.push(`finality: it may be appealed until ${new Date(untilMs).toISOString()}`);
      }
      break;
    }
    default:
      break;
  }
  return work;
}

function findApprovals({ approvalsRequired, approverIds, reviewStartedById, submitterId }: Case): string {
  const left = approvalsRequired - approverIds.length;
  const taken = [
    submitterId,
    ...approverIds,
    ...(approvalsRequired > 1 && left === 1 ? [reviewStartedById] : []),
  ];
  const count = left === 1 ? "one approval" : `${left} approvals by different people`;
  return `${count}, by nobody of ${[...new Set(taken)].join(", ")}; or a rejection`;
}

/** What must hold of any history that this service wrote. */
function findFaults(found: Case, entries: readonly HistoryEntry[]): string[] {
  const faults: string[] = [];
  const gap = entries.findIndex(({ version }, at) => version !== at + 1);
  if (gap !== -1) faults.push(`version ${gap + 1} of its history`);
  if (entries.length < found.version) faults.push(`its history after version ${entries.length}`);
  const approvals = entries.filter(({ action }) => action === CaseAction.APPROVE);
  if (approvals.length < found.approverIds.length) faults.push("the entry of an approval that counts");
  if (approvals.some(({ decisionHash }) => decisionHash.length === 0)) {
    faults.push("what an approval was about: its decision hash");
  }
  return faults;
}
