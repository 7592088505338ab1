import { create, type DescMessage, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { CallOptions } from "@connectrpc/connect";
import { createValidator } from "@bufbuild/protovalidate";
import type { CaseClient } from "#libs/client/case-client.ts";
import { CaseState, type Case, type CaseContentSchema } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import type { Content } from "#services/case/domain/case.ts";

import type { Plan } from "./plan-row.ts";

/** A command as the request that asks for it. */
export interface Request {
  /** Why the schema refuses it; empty when it does not. Judged here as the service judges it. */
  readonly fault: string;
  send(cases: CaseClient, options: CallOptions): Promise<Case>;
}

const validator = createValidator();

/** Makes the request of a planned row on the case `caseId`, which a creation has not. */
export function toRequest({ command, requestId, occurredAtMs, actor }: Plan, caseId: string): Request {
  const { method } = CaseService;
  const origin = { occurredAt: timestampFromMs(occurredAtMs), onBehalfOf: actor };
  const common = { requestId, origin };
  const write = { ...common, caseId };
  switch (command.action) {
    case "create":
      return request(
        method.createCase.input,
        {
          ...common,
          caseType: command.caseType,
          externalReference: command.externalReference,
          content: toMessage(command.content),
        },
        (cases) => cases.createCase,
      );
    case "update":
      return request(
        method.updateCase.input,
        { ...write, content: toMessage(command.content), updateMask: { paths: [...command.fields] } },
        (cases) => cases.updateCase,
      );
    case "submit":
      return request(method.submitCase.input, write, (cases) => cases.submitCase);
    case "assign_reviewer":
      return request(
        method.assignReviewer.input,
        { ...write, reviewerId: command.reviewerId },
        (cases) => cases.assignReviewer,
      );
    case "start_review":
      return request(method.startReview.input, write, (cases) => cases.startReview);
    case "approve":
      return request(
        method.approveCase.input,
        { ...write, reason: command.reason },
        (cases) => cases.approveCase,
      );
    case "reject":
      return request(
        method.rejectCase.input,
        { ...write, reason: command.reason },
        (cases) => cases.rejectCase,
      );
    case "appeal":
      return request(
        method.appealCase.input,
        { ...write, grounds: command.grounds },
        (cases) => cases.appealCase,
      );
    case "start_appeal_review":
      return request(method.startAppealReview.input, write, (cases) => cases.startAppealReview);
    case "approve_appeal":
      return request(
        method.approveAppeal.input,
        { ...write, reason: command.reason },
        (cases) => cases.approveAppeal,
      );
    case "reject_appeal":
      return request(
        method.rejectAppeal.input,
        { ...write, reason: command.reason },
        (cases) => cases.rejectAppeal,
      );
    case "override": {
      const { target, reason, legalAuthority } = command;
      const targetState = target === "approved" ? CaseState.APPROVED : CaseState.REJECTED;
      return request(
        method.overrideDecision.input,
        { ...write, targetState, reason, legalAuthority },
        (cases) => cases.overrideDecision,
      );
    }
    case "close":
      return request(
        method.closeCase.input,
        { ...write, reason: command.reason },
        (cases) => cases.closeCase,
      );
    default:
      return command satisfies never;
  }
}

/** Whether the schema allows `external_reference` and the rest of a query; the service would refuse others. */
export function isValid<I extends DescMessage>(schema: I, init: MessageInitShape<I>): boolean {
  return validator.validate(schema, create(schema, init)).kind === "valid";
}

function request<I extends DescMessage>(
  schema: I,
  init: MessageInitShape<I>,
  methodOf: (
    cases: CaseClient,
  ) => (message: MessageShape<I>, options: CallOptions) => Promise<{ readonly case?: Case | undefined }>,
): Request {
  const message = create(schema, init);
  const verdict = validator.validate(schema, message);
  return {
    fault: verdict.kind === "valid" ? "" : (verdict.error?.message ?? "invalid"),
    async send(cases, options) {
      const { case: next } = await methodOf(cases)(message, options);
      if (!next) throw new Error("the answer holds no case");
      return next;
    },
  };
}

function toMessage({ title, summary, people }: Content): MessageInitShape<typeof CaseContentSchema> {
  return { title, summary, people: people.map((person) => ({ ...person })) };
}
