import { expect, test } from "vitest";
import { recordContract } from "#libs/contracts/record-contract.ts";
import type { Interaction } from "#libs/contracts/contract.ts";
import { file_caseflow_cases_v1_case_service } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { file_caseflow_event_v1_event } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { file_grpc_health_v1_health } from "#libs/gen/grpc/health/v1/health_pb.ts";

import { expectOnDisk } from "../support/expect-on-disk.ts";
import { type Application, createIntakePortal } from "./intake-portal.ts";
import { readDecision } from "./read-decision.ts";
import { waitUntilOpen } from "./wait-until-open.ts";

const contract = recordContract({
  consumer: "intake-portal",
  provider: "case",
  files: [file_caseflow_cases_v1_case_service, file_caseflow_event_v1_event, file_grpc_health_v1_health],
});

const application: Application = {
  id: "6f1c2b0e-95d7-4a43-8a51-0c7a3d0f9b11",
  number: "2026-0417",
  title: "A bigger shed",
  summary: "The shed behind the house is to grow by four square metres.",
  applicant: { name: "Ada Byron", contact: "ada@example.org" },
};
const { number, title, summary, applicant } = application;
const caseId = "01936f5e-8a30-7c4e-9f51-2a7d3b1c0e64";
const requestId = { $match: "uuid", example: "669ecb65-324d-5b52-9796-5b830828cbbc" } as const;
/** The same request ids again, as the state knows them. */
const createdBefore = {
  $match: "given",
  name: "createRequestId",
  example: "669ecb65-324d-5b52-9796-5b830828cbbc",
} as const;
const submittedBefore = {
  $match: "given",
  name: "submitRequestId",
  example: "196104cd-40ae-50f4-a924-f844bf10294b",
} as const;
const givenCase = { $match: "given", name: "caseId", example: caseId } as const;
const caller = { subject: "intake-portal", kind: "service", roles: ["caseworker"] } as const;
const token = "a-token";

const content = { title, summary, people: [{ ...applicant, role: "applicant" }] };
const create = {
  method: "caseflow.cases.v1.CaseService/CreateCase",
  caller,
  deadlineMs: 3_000,
  metadata: { "x-correlation-id": number },
  request: { requestId, caseType: "permit", externalReference: number, content },
} as const;
const submit = {
  method: "caseflow.cases.v1.CaseService/SubmitCase",
  caller,
  deadlineMs: 3_000,
  metadata: { "x-correlation-id": number },
  request: { requestId, caseId: givenCase, expectedVersion: 1 },
} as const;
const get = {
  method: "caseflow.cases.v1.CaseService/GetCase",
  caller,
  deadlineMs: 3_000,
  request: { caseId: givenCase },
} as const;

const opened: Interaction = {
  name: "an application opens a case at version 1",
  state: { name: "no case" },
  call: create,
  answer: {
    code: "OK",
    metadata: { "caseflow-replayed": { $match: "absent" } },
    message: { case: { caseId: { $match: "uuid", example: caseId }, version: 1 } },
  },
};
const submitted: Interaction = {
  name: "an opened case is handed in at the version that it was opened with",
  state: { name: "a case", parameters: { state: "draft" } },
  call: submit,
  answer: { code: "OK", message: {} },
};

test("an application that comes in becomes a case that is handed in", () =>
  contract.expect([opened, submitted], async (url) => {
    await using portal = createIntakePortal({ url, token });
    expect(await portal.handIn(application)).toEqual({ accepted: true, caseId, handedInBefore: false });
  }));

test("an application that is handed in again is told apart, and opens no second case", () =>
  contract.expect(
    [
      {
        name: "a request to open a case that was made before gets its first answer again",
        state: {
          name: "a case that this caller opened",
          parameters: { caseType: "permit", externalReference: number, content },
        },
        call: {
          ...create,
          request: {
            ...create.request,
            requestId: createdBefore,
          },
        },
        answer: {
          code: "OK",
          metadata: { "caseflow-replayed": "true" },
          message: { case: { caseId: givenCase, version: 1 } },
        },
      },
      {
        name: "a request to hand a case in that was made before gets its first answer again",
        state: {
          name: "a case that this caller handed in",
          parameters: { caseType: "permit", externalReference: number, content },
        },
        call: {
          ...submit,
          request: {
            ...submit.request,
            requestId: submittedBefore,
          },
        },
        answer: { code: "OK", metadata: { "caseflow-replayed": "true" }, message: {} },
      },
    ],
    async (url) => {
      await using portal = createIntakePortal({ url, token });
      expect(await portal.handIn(application)).toEqual({ accepted: true, caseId, handedInBefore: true });
    },
  ));

test("a form whose id was used for another application is explained", () =>
  contract.expect(
    [
      {
        name: "a request id that was used for another message is refused",
        state: {
          name: "a case that this caller opened",
          parameters: { caseType: "permit", externalReference: "2026-0001", content },
        },
        call: {
          ...create,
          request: {
            ...create.request,
            requestId: createdBefore,
          },
        },
        answer: { code: "INVALID_ARGUMENT", domain: "caseflow", reason: "REQUEST_ID_REUSED" },
      },
    ],
    async (url) => {
      await using portal = createIntakePortal({ url, token });
      expect(await portal.handIn(application)).toEqual({
        accepted: false,
        explanation: "An application was handed in under this form before, and it said something else.",
      });
    },
  ));

test("an applicant who left the title out is told to correct the title", () =>
  contract.expect(
    [
      {
        ...opened,
        name: "an application without a title opens a case all the same",
        call: { ...create, request: { ...create.request, content: { summary, people: content.people } } },
      },
      {
        name: "a case without a title is not handed in, and the title is named",
        state: {
          name: "a case",
          parameters: { state: "draft", content: { summary, people: content.people } },
        },
        call: submit,
        answer: {
          code: "INVALID_ARGUMENT",
          domain: "caseflow",
          reason: "INVALID_REQUEST",
          details: { "google.rpc.BadRequest": { fieldViolations: [{ field: "content.title" }] } },
        },
      },
    ],
    async (url) => {
      await using portal = createIntakePortal({ url, token });
      expect(await portal.handIn({ ...application, title: "" })).toEqual({
        accepted: false,
        explanation: "Please correct the title.",
      });
    },
  ));

test("an applicant whose case is under way is told its state instead of handing it in again", () =>
  contract.expect(
    [
      opened,
      {
        name: "a case that was handed in is not handed in again, and its state is named",
        state: { name: "a case", parameters: { state: "submitted" } },
        call: {
          ...submit,
          request: { ...submit.request, expectedVersion: { $match: "given", name: "version", example: 1 } },
        },
        answer: {
          code: "FAILED_PRECONDITION",
          domain: "caseflow",
          reason: "INVALID_TRANSITION",
          details: { "google.rpc.ErrorInfo": { metadata: { state: "submitted" } } },
        },
      },
    ],
    async (url) => {
      await using portal = createIntakePortal({ url, token });
      expect(await portal.handIn(application)).toEqual({
        accepted: false,
        explanation: "Your application is submitted already and cannot be handed in again.",
      });
    },
  ));

test.each([
  ["draft", "CASE_STATE_DRAFT", "Your application is not handed in yet."],
  ["submitted", "CASE_STATE_SUBMITTED", "Your application is being reviewed."],
  ["under_review", "CASE_STATE_UNDER_REVIEW", "Your application is being reviewed."],
])("an applicant is told about a case in the state %s", (state, value, told) =>
  contract.expect(
    [
      {
        name: `a case in the state ${state} is read`,
        state: { name: "a case", parameters: { state } },
        call: get,
        answer: { code: "OK", message: { case: { state: value } } },
      },
    ],
    async (url) => {
      await using portal = createIntakePortal({ url, token });
      expect(await portal.tellProgress(caseId)).toBe(told);
    },
  ),
);

test.each(["approved", "rejected"])("an applicant is told the day on which a case was %s", (state) =>
  contract.expect(
    [
      {
        name: `a case in the state ${state} is read`,
        state: { name: "a case", parameters: { state, externalReference: number } },
        call: get,
        answer: {
          code: "OK",
          message: {
            case: {
              state: `CASE_STATE_${state.toUpperCase()}`,
              externalReference: number,
              decidedAt: { $match: "present", example: "2026-11-20T09:30:00Z" },
            },
          },
        },
      },
    ],
    async (url) => {
      await using portal = createIntakePortal({ url, token });
      expect(await portal.tellProgress(caseId)).toBe(
        `Your application 2026-0417 was ${state} on 2026-11-20.`,
      );
    },
  ),
);

test("an applicant with a number that leads nowhere is told so", () =>
  contract.expect(
    [
      {
        name: "a case that is not there is not found",
        state: { name: "no case" },
        call: get,
        answer: { code: "NOT_FOUND", domain: "caseflow", reason: "CASE_NOT_FOUND" },
      },
    ],
    async (url) => {
      await using portal = createIntakePortal({ url, token });
      expect(await portal.tellProgress(caseId)).toBe("We do not know this application.");
    },
  ));

test("the form opens once the case service tells that it serves", () =>
  contract.expect(
    [
      {
        name: "a service that takes calls says so at once to whoever watches it",
        state: { name: "no case" },
        call: {
          method: "grpc.health.v1.Health/Watch",
          request: { service: "caseflow.cases.v1.CaseService" },
        },
        answer: { code: "OK", messages: [{ status: "SERVING" }], end: "open" },
      },
    ],
    (url) => waitUntilOpen(url, AbortSignal.timeout(10_000)),
  ));

test.each([
  ["approved", { $match: "any", example: "In order." }, "In order."],
  ["rejected", "no", "no"],
] as const)("the applicant is written to when a case was %s", (outcome, reason, told) =>
  contract.expectEvent(
    {
      name: `the event of a case that was ${outcome} says which case, when and why`,
      state: { name: "a case", parameters: { state: outcome } },
      message: "caseflow.event.v1.Event",
      which: { type: `caseflow.case.${outcome}`, subject: givenCase },
      fields: {
        fromState: "under_review",
        toState: outcome,
        reason,
        occurredAt: { $match: "present", example: "2026-11-20T09:30:00Z" },
      },
    },
    (bytes) => {
      const decidedAt = new Date("2026-11-20T09:30:00Z");
      expect(readDecision(bytes)).toEqual({ caseId, outcome, reason: told, decidedAt });
    },
  ),
);

test("an event that decides nothing is left alone", () =>
  contract.expectEvent(
    {
      name: "the event of a case that was handed in is known by its type",
      state: { name: "a case", parameters: { state: "submitted" } },
      message: "caseflow.event.v1.Event",
      which: { type: "caseflow.case.submitted", subject: givenCase },
      fields: {},
    },
    (bytes) => expect(readDecision(bytes)).toBeUndefined(),
  ));

test("the contract on disk says what these tests expect", () => expectOnDisk(contract));
