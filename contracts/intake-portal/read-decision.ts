import { fromBinary } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { EventSchema } from "#libs/gen/caseflow/event/v1/event_pb.ts";

/** A decision of which the applicant is to be told. */
export interface Decision {
  readonly caseId: string;
  readonly outcome: "approved" | "rejected";
  /** Why, in the reviewer's words; empty where none was given. */
  readonly reason: string;
  readonly decidedAt: Date;
}

/** Reads an event of the case service; `undefined` when it decides nothing. Approvals that others have to join do not decide. */
export function readDecision(bytes: Uint8Array): Decision | undefined {
  const { type, subject, fromState, toState, reason, occurredAt } = fromBinary(EventSchema, bytes);
  if (type !== "caseflow.case.approved" && type !== "caseflow.case.rejected") return undefined;
  if (toState === fromState || (toState !== "approved" && toState !== "rejected")) return undefined;
  if (occurredAt === undefined)
    throw new Error(`the decision about ${subject} does not say when it was made`);
  return { caseId: subject, outcome: toState, reason, decidedAt: timestampDate(occurredAt) };
}
