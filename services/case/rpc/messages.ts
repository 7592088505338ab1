import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampDate, timestampFromDate, type Timestamp } from "@bufbuild/protobuf/wkt";
import { Fault } from "#libs/fault/fault.ts";
import {
  CaseAction,
  CaseSchema,
  CaseState as CaseStateMessage,
  type Case as CaseMessage,
  type CaseContent,
} from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import type { Action, Appeal, Case, CaseState, Content } from "../domain/case.ts";
import type { Reason } from "../domain/reason.ts";

/** Domain state to wire value; `Record` so that a new state without a value does not compile. */
const stateMessages: Record<CaseState, CaseStateMessage> = {
  draft: CaseStateMessage.DRAFT,
  submitted: CaseStateMessage.SUBMITTED,
  under_review: CaseStateMessage.UNDER_REVIEW,
  approved: CaseStateMessage.APPROVED,
  rejected: CaseStateMessage.REJECTED,
  appealed: CaseStateMessage.APPEALED,
  appeal_under_review: CaseStateMessage.APPEAL_UNDER_REVIEW,
  appeal_approved: CaseStateMessage.APPEAL_APPROVED,
  appeal_rejected: CaseStateMessage.APPEAL_REJECTED,
  closed: CaseStateMessage.CLOSED,
};

const actionMessages: Record<Action, CaseAction> = {
  create: CaseAction.CREATE,
  update: CaseAction.UPDATE,
  submit: CaseAction.SUBMIT,
  assign_reviewer: CaseAction.ASSIGN_REVIEWER,
  start_review: CaseAction.START_REVIEW,
  approve: CaseAction.APPROVE,
  reject: CaseAction.REJECT,
  appeal: CaseAction.APPEAL,
  start_appeal_review: CaseAction.START_APPEAL_REVIEW,
  approve_appeal: CaseAction.APPROVE_APPEAL,
  reject_appeal: CaseAction.REJECT_APPEAL,
  override: CaseAction.OVERRIDE,
  close: CaseAction.CLOSE,
  place_hold: CaseAction.PLACE_HOLD,
  release_hold: CaseAction.RELEASE_HOLD,
  erase: CaseAction.ERASE,
};

const states = new Map(
  Object.entries(stateMessages).map(([state, message]) => [message, state as CaseState]),
);

/** The wire value of a stored state's name; UNSPECIFIED for the empty name, which stands for "there was none". */
export function toStateMessage(state: string): CaseStateMessage {
  return state === "" ? CaseStateMessage.UNSPECIFIED : stateMessages[state as CaseState];
}

/** The wire value of a stored action's name. */
export function toActionMessage(action: string): CaseAction {
  return actionMessages[action as Action];
}

/** The domain state of a wire value; validation has refused what has none. */
export function readState(message: CaseStateMessage): CaseState {
  const state = states.get(message);
  if (state === undefined) throw new RangeError(`case state ${message} is not defined`);
  return state;
}

export function readContent(message: CaseContent | undefined): Content {
  return {
    title: message?.title ?? "",
    summary: message?.summary ?? "",
    people: (message?.people ?? []).map(({ name, role, contact }) => ({ name, role, contact })),
  };
}

/** Fault INVALID_REQUEST for more nanoseconds than a second has: the rules of the schema add them up instead. */
export function readTimestamp(field: string, message: Timestamp | undefined): Date | undefined {
  if (message === undefined) return undefined;
  if (message.nanos < 0 || message.nanos > 999_999_999) {
    const fields = [{ field, description: "must be a time, its nanoseconds those of one second" }];
    throw new Fault<Reason>("INVALID_REQUEST", {}, { fields });
  }
  return timestampDate(message);
}

export function toCaseMessage(found: Case): CaseMessage {
  const { content, decidedAt, overriddenAt, overrideProposal: proposal, appeal } = found;
  const message: MessageInitShape<typeof CaseSchema> = {
    caseId: found.id,
    caseType: found.type,
    externalReference: found.externalReference,
    state: stateMessages[found.state],
    version: found.version,
    ...(content && { content: { ...content, people: content.people.map((person) => ({ ...person })) } }),
    contentVersion: found.contentVersion,
    contentCommitment: found.contentCommitment,
    creatorId: found.creatorId,
    submitterId: found.submitterId ?? "",
    assignedReviewerId: found.assignedReviewerId ?? "",
    reviewStartedById: appeal?.reviewerId ?? found.reviewStartedById ?? "",
    approverIds: [...found.approverIds],
    rejecterId: found.rejecterId ?? "",
    overriderIds: [...found.overriderIds],
    ...(proposal && { overrideProposal: { ...proposal, targetState: stateMessages[proposal.target] } }),
    policyVersion: found.policyVersion,
    approvalsRequired: found.approvalsRequired,
    onHold: found.onHold,
    erased: found.erased,
    createdAt: timestampFromDate(found.createdAt),
    updatedAt: timestampFromDate(found.updatedAt),
    ...(decidedAt && { decidedAt: timestampFromDate(decidedAt) }),
    ...(decidedAt && {
      firstDecision: found.rejecterId === undefined ? CaseStateMessage.APPROVED : CaseStateMessage.REJECTED,
    }),
    ...(overriddenAt && { overriddenAt: timestampFromDate(overriddenAt) }),
    ...(appeal && { appeal: toAppealMessage(appeal) }),
    appealWindowDays: found.appealWindowDays,
  };
  return create(CaseSchema, message);
}

function toAppealMessage({ appellantId, appealedAt, reviewerId, outcome, decidedAt }: Appeal) {
  return {
    appellantId,
    appealedAt: timestampFromDate(appealedAt),
    reviewerId: reviewerId ?? "",
    outcome: toStateMessage(outcome ?? ""),
    ...(decidedAt && { decidedAt: timestampFromDate(decidedAt) }),
  };
}
