import { getOption, type DescMethod } from "@bufbuild/protobuf";
import { Fault } from "#libs/fault/fault.ts";
import type { Origin } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { authz } from "#libs/gen/caseflow/options/v1/authz_pb.ts";
import type { Actor } from "../application/event-facts.ts";
import type { Reason } from "../domain/reason.ts";
import { readTimestamp } from "./messages.ts";

const importer = "importer";

/**
 * Who acts for whom, and when it happened. An origin is for importers alone; and whoever is let in as an importer alone
 * brings in what happened elsewhere, and does nothing themselves.
 */
export function readOrigin(
  method: DescMethod,
  origin: Origin | undefined,
  { roles, onBehalfOf }: Actor,
): { readonly reportedAt: Date | undefined; readonly onBehalfOf: string } {
  if (origin !== undefined) {
    if (!roles.includes(importer))
      throw new Fault<Reason>("FORBIDDEN", { why: "only an importer names an origin" });
    const reportedAt = readTimestamp("origin.occurred_at", origin.occurredAt);
    return { reportedAt, onBehalfOf: origin.onBehalfOf };
  }
  const ownRoles = getOption(method, authz).roles.filter((role) => role !== importer);
  if (!ownRoles.some((role) => roles.includes(role))) {
    const fields = [{ field: "origin", description: "must be there when an importer calls" }];
    throw new Fault<Reason>("INVALID_REQUEST", {}, { fields });
  }
  return { reportedAt: undefined, onBehalfOf };
}
