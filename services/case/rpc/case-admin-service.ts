import { create, toBinary } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import { CaseAdminService } from "#libs/gen/caseflow/cases/v1/case_admin_service_pb.ts";
import type { ChangeCase } from "../application/change-case.ts";
import type { DeadLetters } from "../application/dead-letters.ts";
import type { ListEntryDigests } from "../application/list-entry-digests.ts";
import type { Policies } from "../application/policies.ts";
import type { RequeueEntries } from "../application/requeue-entries.ts";
import type { Policy } from "../domain/case.ts";
import type { CustodyCommand } from "../domain/command.ts";
import { pageOf, readerOf } from "./caller.ts";
import { createDeadLetterHandlers } from "./dead-letters.ts";
import { readTimestamp } from "./messages.ts";
import { createWrite, toAnswer, toWriteRequest } from "./writes.ts";

interface CustodyRequest {
  readonly reason: string;
  readonly legalBasis: string;
}

/** CaseAdminService as far as it is built; what is missing here answers UNIMPLEMENTED. */
export function createCaseAdminService(application: {
  readonly changeCase: ChangeCase;
  readonly policies: Policies;
  readonly deadLetters: DeadLetters;
  readonly listEntryDigests: ListEntryDigests;
  readonly requeueEntries: RequeueEntries;
}): Partial<ServiceImpl<typeof CaseAdminService>> {
  const { changeCase, policies, deadLetters, listEntryDigests, requeueEntries } = application;
  const { method } = CaseAdminService;
  const custody =
    (action: CustodyCommand["action"]) =>
    ({ reason, legalBasis }: CustodyRequest) => ({ action, reason, legalBasis });
  return {
    placeHold: createWrite(changeCase, method.placeHold, custody("place_hold")),
    releaseHold: createWrite(changeCase, method.releaseHold, custody("release_hold")),
    eraseCase: createWrite(changeCase, method.eraseCase, custody("erase")),
    ...createDeadLetterHandlers(deadLetters),

    async getCasePolicy({ caseType }, context) {
      return { policy: toPolicyMessage(await policies.get(readerOf(context), caseType)) };
    },

    async setCasePolicy(request, context) {
      const { caseType, expectedPolicyVersion, policy, reason } = request;
      const result = await policies.set({
        ...toWriteRequest(method.setCasePolicy, request, context),
        caseType,
        expectedVersion: expectedPolicyVersion,
        // Validation has refused what is not there and what is neither 1 nor 2.
        rules: {
          approvalsRequired: policy?.approvalsRequired === 2 ? 2 : 1,
          appealWindowDays: policy?.appealWindowDays ?? 0,
        },
        reason,
        encodeAnswer: (set) => {
          const { output } = method.setCasePolicy;
          return toBinary(output, create(output, { policy: toPolicyMessage(set) }));
        },
      });
      return toAnswer(method.setCasePolicy, result, context);
    },

    async listEntryDigests(request, context) {
      const filter = {
        subject: request.subject,
        recordedFrom: readTimestamp("recorded_from", request.recordedFrom),
        recordedBefore: readTimestamp("recorded_before", request.recordedBefore),
      };
      const page = await listEntryDigests(readerOf(context), filter, pageOf(request));
      return { entries: page.items.map((item) => ({ ...item })), nextPageToken: page.nextToken };
    },

    async requeueEntries(request, context) {
      const result = await requeueEntries({
        ...toWriteRequest(method.requeueEntries, request, context),
        eventIds: [...new Set(request.eventIds.map((eventId) => eventId.toLowerCase()))],
        encodeAnswer: (eventIds) => {
          const { output } = method.requeueEntries;
          return toBinary(output, create(output, { requeuedEventIds: [...eventIds] }));
        },
      });
      return toAnswer(method.requeueEntries, result, context);
    },
  };
}

function toPolicyMessage({ version, approvalsRequired, appealWindowDays }: Policy) {
  return { policyVersion: version, approvalsRequired, appealWindowDays };
}
