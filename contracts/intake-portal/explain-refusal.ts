import type { ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema } from "#libs/gen/google/rpc/error_details_pb.ts";

const formFields: Readonly<Record<string, string>> = {
  "content.title": "the title",
  "content.summary": "the description",
  "content.people": "your name",
};

/** What an applicant is told about a refusal; `undefined` where nobody knows whether it took effect. */
export function explainRefusal(error: ConnectError): string | undefined {
  const [info] = error.findDetails(ErrorInfoSchema);
  switch (info?.reason) {
    case "INVALID_REQUEST": {
      const fields = error.findDetails(BadRequestSchema).flatMap(({ fieldViolations }) => fieldViolations);
      const named = new Set(fields.map(({ field }) => formFields[field] ?? "something"));
      return `Please correct ${[...named].join(" and ")}.`;
    }
    case "INVALID_TRANSITION":
      return `Your application is ${info.metadata["state"]} already and cannot be handed in again.`;
    case "REQUEST_ID_REUSED":
      return "An application was handed in under this form before, and it said something else.";
    case "CASE_NOT_FOUND":
      return "We do not know this application.";
    default:
      return undefined;
  }
}
