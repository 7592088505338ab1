import type { ServiceImpl } from "@connectrpc/connect";
import { CaseState } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { listenerOf } from "#libs/service/listener.ts";
import type { ChangeCase } from "../application/change-case.ts";
import type { ReadCases } from "../application/read-cases.ts";
import type { WatchCases } from "../application/watch-cases.ts";
import type { ContentField } from "../domain/command.ts";
import { pageOf, readerOf } from "./caller.ts";
import { toHistoryEntry } from "./event-codec.ts";
import { readContent, readState, readTimestamp, toCaseMessage } from "./messages.ts";
import { toWatchMessage } from "./watch-messages.ts";
import { createWrite } from "./writes.ts";

/** The longest one step of a watch may take, in milliseconds. */
const stepCeilingMs = 10_000;

const fieldByPath: Readonly<Record<string, ContentField>> = {
  title: "title",
  summary: "summary",
  people: "people",
};

/** CaseService as far as it is built; what is missing here answers UNIMPLEMENTED. */
export function createCaseService(application: {
  readonly changeCase: ChangeCase;
  readonly readCases: ReadCases;
  readonly watchCases: WatchCases;
}): Partial<ServiceImpl<typeof CaseService>> {
  const { changeCase, readCases, watchCases } = application;
  const { method } = CaseService;
  return {
    createCase: createWrite(changeCase, method.createCase, ({ caseType, externalReference, content }) => ({
      action: "create",
      caseType,
      externalReference,
      content: readContent(content),
    })),
    updateCase: createWrite(changeCase, method.updateCase, ({ content, updateMask }) => ({
      action: "update",
      content: readContent(content),
      fields: (updateMask?.paths ?? []).flatMap((path) => fieldByPath[path] ?? []),
    })),
    submitCase: createWrite(changeCase, method.submitCase, () => ({ action: "submit" })),
    assignReviewer: createWrite(changeCase, method.assignReviewer, ({ reviewerId }) => ({
      action: "assign_reviewer",
      reviewerId,
    })),
    startReview: createWrite(changeCase, method.startReview, () => ({ action: "start_review" })),
    approveCase: createWrite(changeCase, method.approveCase, ({ reason }) => ({ action: "approve", reason })),
    rejectCase: createWrite(changeCase, method.rejectCase, ({ reason }) => ({ action: "reject", reason })),
    appealCase: createWrite(changeCase, method.appealCase, ({ grounds }) => ({ action: "appeal", grounds })),
    startAppealReview: createWrite(changeCase, method.startAppealReview, () => ({
      action: "start_appeal_review",
    })),
    approveAppeal: createWrite(changeCase, method.approveAppeal, ({ reason }) => ({
      action: "approve_appeal",
      reason,
    })),
    rejectAppeal: createWrite(changeCase, method.rejectAppeal, ({ reason }) => ({
      action: "reject_appeal",
      reason,
    })),
    overrideDecision: createWrite(
      changeCase,
      method.overrideDecision,
      ({ targetState, reason, legalAuthority }) => ({
        action: "override",
        target: targetState === CaseState.APPROVED ? "approved" : "rejected", // Validation lets no other pass.
        reason,
        legalAuthority,
      }),
    ),
    closeCase: createWrite(changeCase, method.closeCase, ({ reason }) => ({ action: "close", reason })),

    async getCase({ caseId }, context) {
      return { case: toCaseMessage(await readCases.get(readerOf(context), caseId.toLowerCase())) };
    },

    async listCases(request, context) {
      const filter = {
        states: request.states.map(readState),
        caseType: request.caseType,
        assignedReviewerId: request.assignedReviewerId,
        creatorId: request.creatorId,
        externalReference: request.externalReference,
        changedSince: readTimestamp("changed_since", request.changedSince),
      };
      const page = await readCases.list(readerOf(context), filter, pageOf(request));
      return { cases: page.items.map(toCaseMessage), nextPageToken: page.nextToken };
    },

    async *watchCases({ resumeToken }, context) {
      const listener = listenerOf(context, stepCeilingMs);
      for await (const message of watchCases.watch({ listener, resumeToken })) yield toWatchMessage(message);
    },

    async getCaseHistory(request, context) {
      const caseId = request.caseId.toLowerCase();
      const page = await readCases.history(readerOf(context), caseId, pageOf(request));
      return { entries: page.items.map(toHistoryEntry), nextPageToken: page.nextToken };
    },
  };
}
