import { getOption, type DescMethod } from "@bufbuild/protobuf";
import { Fault } from "#libs/fault/fault.ts";
import { CaseService, type Origin } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { authz } from "#libs/gen/caseflow/options/v1/authz_pb.ts";
import type { Actor } from "../application/event-facts.ts";
import type { Reason } from "../domain/reason.ts";
import { readTimestamp } from "./messages.ts";

const importer = "importer";

/** The roles by which somebody acts in cases themselves: of every method that takes an origin, all but the importer's. */
const rolesOfOneself = new Set(
  CaseService.methods.filter(({ input }) => "origin" in input.field).flatMap(ownRolesOf),
);

/**
 * Who acts for whom, and when it happened. An origin is for importers without a role to act by themselves: whoever had
 * both could speak as themselves and as somebody else. And whoever is let in as an importer alone brings in what happened
 * elsewhere, and does nothing themselves.
 */
export function readOrigin(
  method: DescMethod,
  origin: Origin | undefined,
  { roles, onBehalfOf }: Actor,
): { readonly reportedAt: Date | undefined; readonly onBehalfOf: string } {
  if (origin !== undefined) {
    if (!roles.includes(importer))
      throw new Fault<Reason>("FORBIDDEN", { why: "only an importer names an origin" });
    const own = roles.find((role) => rolesOfOneself.has(role));
    if (own !== undefined)
      throw new Fault<Reason>("FORBIDDEN", { why: `an importer who is a ${own} too names no origin` });
    const reportedAt = readTimestamp("origin.occurred_at", origin.occurredAt);
    return { reportedAt, onBehalfOf: origin.onBehalfOf };
  }
  if (!ownRolesOf(method).some((role) => roles.includes(role))) {
    const fields = [{ field: "origin", description: "must be there when an importer calls" }];
    throw new Fault<Reason>("INVALID_REQUEST", {}, { fields });
  }
  return { reportedAt: undefined, onBehalfOf };
}

function ownRolesOf(method: DescMethod): readonly string[] {
  return getOption(method, authz).roles.filter((role) => role !== importer);
}
