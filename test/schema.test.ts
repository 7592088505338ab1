import { getExtension, hasExtension, type DescMethod } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { AuditService } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import { CaseAdminService } from "#libs/gen/caseflow/cases/v1/case_admin_service_pb.ts";
import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { authz } from "#libs/gen/caseflow/options/v1/authz_pb.ts";
import { ErrorReason, ErrorReasonSchema } from "#libs/gen/caseflow/options/v1/error_reason_pb.ts";
import { MethodOptions_IdempotencyLevel as Level } from "@bufbuild/protobuf/wkt";
import { codeByReason as auditCodes } from "#services/audit/rpc/reason-codes.ts";
import { caseStates } from "#services/case/domain/case.ts";
import { transitions } from "#services/case/domain/transitions.ts";
import { codeByReason as caseCodes } from "#services/case/rpc/reason-codes.ts";
import { cloneCaseDatabase } from "./support/databases.ts";
import { openSuperuser } from "./support/superuser.ts";

const methods = [CaseService, CaseAdminService, AuditService].flatMap((service) =>
  service.methods.map((method) => ({ name: `${service.name}.${method.name}`, method })),
);
const knownRoles = [
  "caseworker",
  "reviewer",
  "supervisor",
  "importer",
  "auditor",
  "operator",
  "event_source",
];

function rolesOf(method: DescMethod): readonly string[] {
  const options = method.proto.options;
  return options && hasExtension(options, authz) ? getExtension(options, authz).roles : [];
}

test.each(methods)("$name tells who may call it and whether it may be retried", ({ method }) => {
  expect(rolesOf(method).length).toBeGreaterThan(0);
  expect(knownRoles).toEqual(expect.arrayContaining([...rolesOf(method)]));
  expect([Level.IDEMPOTENT, Level.NO_SIDE_EFFECTS]).toContain(method.idempotency);
});

test.each(
  methods.filter(({ method }) => method.idempotency === Level.IDEMPOTENT && method.parent !== AuditService),
)("$name carries a request id, and an optional expected version where it names a case", ({ method }) => {
  const fields = new Map(method.input.fields.map((field) => [field.name, field]));
  expect(fields.get("request_id")).toMatchObject({ fieldKind: "scalar", number: 1 });
  if (fields.has("case_id")) expect(fields.get("expected_version")?.proto.proto3Optional).toBe(true);
});

const actionMethods: Record<string, string> = {
  create: "CreateCase",
  update: "UpdateCase",
  submit: "SubmitCase",
  assign_reviewer: "AssignReviewer",
  start_review: "StartReview",
  approve: "ApproveCase",
  reject: "RejectCase",
  appeal: "AppealCase",
  start_appeal_review: "StartAppealReview",
  approve_appeal: "ApproveAppeal",
  reject_appeal: "RejectAppeal",
  override: "OverrideDecision",
  close: "CloseCase",
  place_hold: "PlaceHold",
  release_hold: "ReleaseHold",
  erase: "EraseCase",
};

test.each(transitions)(
  "$action from $from asks for the same role in the table and in the schema",
  ({ action, role }) => {
    const found = methods.find(({ method }) => method.name === actionMethods[action]);
    // What happened in another system is brought in by an importer; what an operator does is done here alone.
    const own = found?.method.parent === CaseAdminService ? [role] : [role, "importer"];
    expect(found && rolesOf(found.method)).toEqual(own);
  },
);

test("every reason that a service can give is in the schema", () => {
  const named = new Set(ErrorReasonSchema.values.map(({ name }) => name.replace("ERROR_REASON_", "")));
  for (const reason of [...Object.keys(caseCodes), ...Object.keys(auditCodes)])
    expect(named).toContain(reason);
  expect(ErrorReason.UNSPECIFIED).toBe(0);
});

test("the database allows the transitions of the state table and no others", async () => {
  await using database = await cloneCaseDatabase();
  await using client = await openSuperuser(database.superuserUrl);
  const { rows } = await client.query<{ definition: string }>(
    `SELECT pg_get_constraintdef(oid) AS definition FROM pg_constraint WHERE conname = 'audit_entries_transition_allowed'`,
  );
  const check = rows[0]?.definition.replace(/^CHECK /, "") ?? "";
  const triples = [null, ...caseStates].flatMap((from) =>
    Object.keys(actionMethods).flatMap((action) => caseStates.map((to) => ({ from, action, to }))),
  );
  const { rows: judged } = await client.query<{
    from: string | null;
    action: string;
    to: string;
    allowed: boolean;
  }>(
    `SELECT from_state AS "from", action, to_state AS "to", ${check} AS allowed
         FROM unnest($1::text[], $2::text[], $3::text[]) AS t(from_state, action, to_state)`,
    [triples.map((t) => t.from), triples.map((t) => t.action), triples.map((t) => t.to)],
  );
  expect(judged).toHaveLength(triples.length);
  for (const { from, action, to, allowed } of judged) {
    const expected = transitions.some(
      (row) =>
        row.action === action &&
        (row.from === "any"
          ? from !== null && from === to
          : row.from === from && row.to.some((state) => state === to)),
    );
    expect({ from, action, to, allowed: allowed ?? false }).toEqual({
      from,
      action,
      to,
      allowed: expected,
    });
  }
});
