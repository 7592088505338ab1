import { expect, test } from "vitest";
import { readImage } from "#libs/contracts/buf.ts";
import { findIncompatibilities } from "#libs/contracts/find-incompatibilities.ts";
import { readContracts } from "#libs/contracts/read-contracts.ts";

import { contractsFolder, reasonEnums } from "./product.ts";
import { findSchemaBreaks, tellBreaks } from "./schema-gate.ts";
import { type Edit, plantSchema } from "./support/plant-schema.ts";

/** What every contract says of the schemas in an image, as `consumer: element problem`. */
async function judge(image: string): Promise<readonly string[]> {
  const schema = await readImage(image);
  return (await readContracts(contractsFolder)).flatMap((contract) =>
    findIncompatibilities(contract, schema, reasonEnums).map(
      ({ element, problem }) => `${contract.consumer}: ${element} ${problem}`,
    ),
  );
}

const caseProto = "cases/v1/case.proto";
const caseService = "cases/v1/case_service.proto";
const event = "event/v1/event.proto";
const reasons = "options/v1/error_reason.proto";

test.each<[string, readonly Edit[], readonly string[], readonly string[]]>([
  [
    "removing a field that is read",
    [[caseProto, "google.protobuf.Timestamp decided_at = 23;", 'reserved 23;\n  reserved "decided_at";']],
    ["intake-portal: caseflow.cases.v1.Case.decided_at is missing"],
    ["hurts intake-portal: caseflow.cases.v1.Case.decided_at"],
  ],
  [
    "giving a field that is read another number",
    [[caseProto, "google.protobuf.Timestamp decided_at = 23;", "google.protobuf.Timestamp decided_at = 99;"]],
    ["intake-portal: caseflow.cases.v1.Case.decided_at has number 99 instead of 23"],
    ["hurts intake-portal: caseflow.cases.v1.Case.decided_at"],
  ],
  [
    "renaming a reason",
    [[reasons, "ERROR_REASON_REQUEST_ID_REUSED = 14;", "ERROR_REASON_REQUEST_ID_TAKEN = 14;"]],
    [
      'intake-portal: caseflow.options.v1.ErrorReason.ERROR_REASON_REQUEST_ID_REUSED is missing, and "a request id that was used for another message is refused" relies on it',
    ],
    ["hurts intake-portal: caseflow.options.v1.ErrorReason.ERROR_REASON_REQUEST_ID_REUSED"],
  ],
  [
    "renaming a state",
    [[caseProto, "CASE_STATE_CLOSED = 10;", "CASE_STATE_ARCHIVED = 10;"]],
    ["cli: caseflow.cases.v1.CaseState.CASE_STATE_CLOSED is called CASE_STATE_ARCHIVED instead"],
    ["hurts cli: caseflow.cases.v1.CaseState.CASE_STATE_CLOSED"],
  ],
  [
    "narrowing a type",
    [[event, "uint64 subject_sequence = 7;", "uint32 subject_sequence = 7;"]],
    ["audit: caseflow.event.v1.Event.subject_sequence its type is uint32 instead of uint64"],
    ["hurts audit: caseflow.event.v1.Event.subject_sequence"],
  ],
  [
    "making a list of one field's values a single one",
    [[caseProto, "repeated string approver_ids = 13;", "string approver_ids = 13;"]],
    [
      "cli: caseflow.cases.v1.Case.approver_ids its type is string instead of repeated string",
      "cli: caseflow.cases.v1.Case.approver_ids its presence is implicit instead of a list's",
    ],
    ["hurts cli: caseflow.cases.v1.Case.approver_ids"],
  ],
  [
    "changing presence",
    [
      [
        caseService,
        "// Request of SubmitCase.\nmessage SubmitCaseRequest {\n  // The caller's UUID for this change. Required; keep it across retries.\n  string request_id = 1 [(buf.validate.field).string.uuid = true];\n  // The case. Required.\n  string case_id = 2 [(buf.validate.field).string.uuid = true];\n  // The version the caller has seen, from 1. Absent: any.\n  optional uint32",
        "message SubmitCaseRequest {\n  string request_id = 1;\n  string case_id = 2;\n  uint32",
      ],
    ],
    [
      "intake-portal: caseflow.cases.v1.SubmitCaseRequest.expected_version its presence is implicit instead of explicit",
    ],
    ["hurts intake-portal: caseflow.cases.v1.SubmitCaseRequest.expected_version"],
  ],
  [
    "dropping a field of an event",
    [[event, "google.protobuf.Timestamp occurred_at = 19;", 'reserved 19;\n  reserved "occurred_at";']],
    [
      "audit: caseflow.event.v1.Event.occurred_at is missing",
      "intake-portal: caseflow.event.v1.Event.occurred_at is missing",
    ],
    [
      "hurts audit: caseflow.event.v1.Event.occurred_at",
      "hurts intake-portal: caseflow.event.v1.Event.occurred_at",
    ],
  ],
])(
  "%s fails with the consumer and the field, in the contracts and at the schema gate",
  async (_, edits, faults, told) => {
    await using planted = await plantSchema(...edits);
    expect(await judge(planted.image)).toEqual(faults);
    const report = tellBreaks(await findSchemaBreaks(planted.image));
    for (const line of told) expect(report.split("\n").map((one) => one.trim())).toContain(line);
  },
);

/* Rules of protovalidate break no schema, as buf sees it; the contracts see it. */
test.each<[string, Edit, readonly string[]]>([
  [
    "a field that was not there before",
    [
      caseService,
      "message GetCaseRequest {",
      "message GetCaseRequest {\n  // Why.\n  string purpose = 2 [(buf.validate.field).required = true];",
    ],
    [
      'cli: caseflow.cases.v1.GetCaseRequest.purpose the request of "a case that is not there is not found" is refused: value is required',
      'cli: caseflow.cases.v1.GetCaseRequest.purpose the request of "a closed case names everybody who had a part in it" is refused: value is required',
      'cli: caseflow.cases.v1.GetCaseRequest.purpose the request of "a rejected case names who rejected it" is refused: value is required',
    ],
  ],
  [
    "a field that may be left out",
    [
      caseProto,
      "string title = 1 [(buf.validate.field).string = {\n    max_len: 200",
      "string title = 1 [(buf.validate.field).string = {\n    min_len: 1\n    max_len: 200",
    ],
    [],
  ],
])("requiring %s fails with the consumer and the field", async (_, edit, ofCommandLine) => {
  await using planted = await plantSchema(edit);
  const faults = await judge(planted.image);
  const element = ofCommandLine.length > 0 ? "GetCaseRequest.purpose" : "CreateCaseRequest.content.title";
  expect(faults.filter((fault) => fault.startsWith("cli:"))).toEqual(ofCommandLine);
  expect(faults).toContainEqual(
    expect.stringContaining(`intake-portal: caseflow.cases.v1.${element} the request of`),
  );
  expect(faults.filter((fault) => !fault.includes(element))).toEqual([]);
});

test("adding a field, a method and an enum value breaks no contract and nothing at the schema gate", async () => {
  await using planted = await plantSchema(
    [
      caseProto,
      "google.protobuf.Timestamp decided_at = 23;",
      "google.protobuf.Timestamp decided_at = 23;\n  string priority = 99;",
    ],
    [caseProto, "CASE_STATE_CLOSED = 10;", "CASE_STATE_CLOSED = 10;\n  CASE_STATE_ARCHIVED = 11;"],
    [
      caseService,
      "service CaseService {",
      "service CaseService {\n  rpc ReadCase(GetCaseRequest) returns (GetCaseResponse);\n",
    ],
  );
  expect(await judge(planted.image)).toEqual([]);
  expect(await findSchemaBreaks(planted.image)).toEqual([]);
});

test("removing a field that nobody reads passes the contracts, and the schema gate says that it hurts nobody", async () => {
  await using planted = await plantSchema([
    caseProto,
    "google.protobuf.Timestamp updated_at = 22;",
    'reserved 22;\n  reserved "updated_at";',
  ]);
  expect(await judge(planted.image)).toEqual([]);
  const breaks = await findSchemaBreaks(planted.image);
  expect(breaks.map(({ rule, hurts }) => [rule, hurts])).toEqual([["FIELD_NO_DELETE", []]]);
  expect(tellBreaks(breaks)).toContain("hurts nobody who has a contract");
});

test("the schemas break with nothing that is released", async () => {
  await using present = await plantSchema();
  expect(tellBreaks(await findSchemaBreaks(present.image))).toBe("");
});
