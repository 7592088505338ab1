import { create, fromBinary } from "@bufbuild/protobuf";
import { CaseSchema, type Case } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import {
  UpdateCaseResponseSchema,
  WatchCasesResponseSchema,
  type WatchCasesResponse,
} from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import type { CaseChange, WatchMessage } from "../application/watch-cases.ts";
import { toStateMessage } from "./messages.ts";

export function toWatchMessage({ change, resumeToken }: WatchMessage): WatchCasesResponse {
  if (change === undefined) return create(WatchCasesResponseSchema, { resumeToken });
  const whole = change.answer && readCase(change.answer);
  return create(WatchCasesResponseSchema, {
    case: whole ?? toPartialCase(change),
    resumeToken,
    partial: whole === undefined,
  });
}

/** The case in a recorded answer: every change of a case is answered with a message whose field 1 is the case after it. */
function readCase(answer: Uint8Array): Case | undefined {
  return fromBinary(UpdateCaseResponseSchema, answer).case;
}

/** What the event alone tells of the case. */
function toPartialCase({ caseId, version, event: bytes }: CaseChange): Case {
  const event = fromBinary(EventSchema, bytes);
  const { subjectType: caseType, contentCommitment, policyVersion, recordedAt } = event;
  return create(CaseSchema, {
    caseId,
    caseType,
    state: toStateMessage(event.toState),
    version,
    contentCommitment,
    policyVersion,
    ...(recordedAt && { updatedAt: recordedAt }),
  });
}
