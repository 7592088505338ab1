import { timestampDate, type Timestamp } from "@bufbuild/protobuf/wkt";
import {
  CaseAction,
  CaseState as WireState,
  type Case as Wire,
} from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import type { HistoryEntry } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { caseStates, type Appeal, type Case, type CaseState } from "#services/case/domain/case.ts";

import { personOf } from "../read-cases.ts";
import type { FoundCase } from "./find-case.ts";

/** A case of the service as the rules know it, so that a dry run goes on from where it stands. */
export function toDomainCase({ found, entries }: FoundCase): Case {
  const last = (action: CaseAction) => entries.findLast((entry) => entry.action === action);
  const review = last(CaseAction.START_REVIEW);
  const overrides = entries.filter(({ action }) => action === CaseAction.OVERRIDE);
  const { content, overrideProposal: proposal } = found;
  return {
    id: found.caseId,
    type: found.caseType,
    externalReference: found.externalReference,
    state: toState(found.state),
    version: found.version,
    content: content && {
      title: content.title,
      summary: content.summary,
      people: content.people.map(({ name, role, contact }) => ({ name, role, contact })),
    },
    contentVersion: found.contentVersion,
    contentCommitment: found.contentCommitment,
    creatorId: found.creatorId,
    submitterId: found.submitterId || undefined,
    submittedVersion: last(CaseAction.SUBMIT)?.version,
    assignedReviewerId: found.assignedReviewerId || undefined,
    reviewStartedById: review && personOf(review),
    reviewVersion: review?.version,
    reviewRound: entries.at(-1)?.reviewRound ?? 0,
    approverIds: found.approverIds,
    rejecterId: found.rejecterId || undefined,
    overrideProposal: proposal && {
      proposerId: proposal.proposerId,
      target: proposal.targetState === WireState.APPROVED ? "approved" : "rejected",
      reason: proposal.reason,
      legalAuthority: proposal.legalAuthority,
      version: proposal.version,
    },
    overriderIds: found.overriderIds,
    overrideSpeakerIds: [...new Set(overrides.map(personOf))],
    appeal: toAppeal(found, last(CaseAction.START_APPEAL_REVIEW)),
    onHold: found.onHold,
    erased: found.erased,
    policyVersion: found.policyVersion,
    approvalsRequired: found.approvalsRequired === 2 ? 2 : 1,
    appealWindowDays: found.appealWindowDays,
    createdAt: toDate(found.createdAt),
    updatedAt: toDate(found.updatedAt),
    occurredAt: toDate(entries.at(-1)?.occurredAt),
    decidedAt: found.decidedAt && timestampDate(found.decidedAt),
    overriddenAt: found.overriddenAt && timestampDate(found.overriddenAt),
  };
}

function toAppeal({ appeal }: Wire, began: HistoryEntry | undefined): Appeal | undefined {
  if (!appeal) return undefined;
  const outcome = appeal.outcome === WireState.UNSPECIFIED ? undefined : toState(appeal.outcome);
  return {
    appellantId: appeal.appellantId,
    appealedAt: toDate(appeal.appealedAt),
    reviewerId: appeal.reviewerId || undefined,
    reviewVersion: began?.version,
    outcome: outcome === "appeal_approved" || outcome === "appeal_rejected" ? outcome : undefined,
    decidedAt: appeal.decidedAt && timestampDate(appeal.decidedAt),
  };
}

/** Both lists are in the same order; UNSPECIFIED comes before the first. */
function toState(state: WireState): CaseState {
  const found = caseStates[state - 1];
  if (found === undefined) throw new Error(`the service knows a state ${state} that this release does not`);
  return found;
}

function toDate(timestamp: Timestamp | undefined): Date {
  if (!timestamp) throw new Error("the answer lacks a time");
  return timestampDate(timestamp);
}
