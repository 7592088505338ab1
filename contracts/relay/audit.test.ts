import { expect, test } from "vitest";
import { createAuditClient } from "#libs/client/audit-client.ts";
import type { Answer, ExpectedMessage, Interaction, ProviderState } from "#libs/contracts/contract.ts";
import { recordContract } from "#libs/contracts/record-contract.ts";
import { file_caseflow_audit_v1_audit_service } from "#libs/gen/caseflow/audit/v1/audit_service_pb.ts";
import type { PendingEvent } from "#services/case/domain/pending-event.ts";
import type { Outcome } from "#services/case/relay/deliver.ts";
import { createRecordEvents } from "#services/case/rpc/audit-recorder.ts";

import { expectOnDisk } from "../support/expect-on-disk.ts";

const contract = recordContract({
  consumer: "relay",
  provider: "audit",
  files: [file_caseflow_audit_v1_audit_service],
});

/** To the relay an event is bytes with an id, which it passes on as they are. */
const pending: PendingEvent = {
  tenantId: "acme",
  caseId: "01936f5e-8a30-7c4e-9f51-2a7d3b1c0e64",
  version: 1,
  eventId: "01936f5e-8a30-7c4e-9f51-2a7d3b1c0e65",
  event: Buffer.from("an event's bytes"),
  traceparent: "",
};
const bytes = Buffer.from(pending.event).toString("base64");
const givenId = { $match: "given", name: "eventId", example: pending.eventId } as const;
const caller = {
  subject: "case-relay",
  kind: "service",
  roles: ["event_source"],
  sources: ["caseflow/case"],
} as const;

function recordEvents(name: string, state: ProviderState, answer: Answer): Interaction {
  return {
    name,
    state,
    call: {
      method: "caseflow.audit.v1.AuditService/RecordEvents",
      caller,
      deadlineMs: 10_000,
      request: { events: [{ $match: "given", name: "event", example: bytes }] },
    },
    answer,
  };
}

const deliver = async (
  url: string,
  events: readonly PendingEvent[] = [pending],
): Promise<readonly Outcome[]> => {
  await using client = createAuditClient({ url, token: "a-token" });
  return await createRecordEvents(client, () => new Date())(events);
};

test.each<[string, ProviderState, ExpectedMessage, Outcome]>([
  [
    "an event that the log lacks is applied",
    { name: "an event that comes next" },
    { outcome: "DELIVERY_OUTCOME_APPLIED" },
    { kind: "applied" },
  ],
  [
    "an event that the log has is a duplicate",
    { name: "an event that is there already" },
    { outcome: "DELIVERY_OUTCOME_DUPLICATE" },
    { kind: "duplicate" },
  ],
  [
    "an event whose predecessor is missing is out of order",
    { name: "an event that comes too early" },
    { outcome: "DELIVERY_OUTCOME_OUT_OF_ORDER" },
    { kind: "out_of_order" },
  ],
  [
    "an event whose sequence another one has is rejected with a reason",
    { name: "an event whose sequence is taken" },
    { outcome: "DELIVERY_OUTCOME_REJECTED", reason: "SEQUENCE_REUSED" },
    { kind: "rejected", reason: "SEQUENCE_REUSED" },
  ],
  [
    "an event whose id another one has is rejected with a reason",
    { name: "an event whose id is taken" },
    { outcome: "DELIVERY_OUTCOME_REJECTED", reason: "EVENT_ID_REUSED" },
    { kind: "rejected", reason: "EVENT_ID_REUSED" },
  ],
])("%s", (name, state, fields, outcome) =>
  contract.expect(
    [recordEvents(name, state, { code: "OK", message: { outcomes: [{ eventId: givenId, ...fields }] } })],
    async (url) => expect(await deliver(url)).toEqual([outcome]),
  ),
);

test("bytes that cannot be read are rejected without an event id", () =>
  contract.expect(
    [
      recordEvents(
        "an event that cannot be read is rejected without an id",
        { name: "bytes that are no event" },
        {
          code: "OK",
          message: {
            outcomes: [
              {
                eventId: { $match: "absent" },
                outcome: "DELIVERY_OUTCOME_REJECTED",
                reason: "INVALID_EVENT",
              },
            ],
          },
        },
      ),
    ],
    async (url) => expect(await deliver(url)).toEqual([{ kind: "rejected", reason: "INVALID_EVENT" }]),
  ));

test("outcomes come in the order in which events were sent", () =>
  contract.expect(
    [
      {
        name: "the outcomes of two events are told in the order sent",
        state: { name: "two events, the first of which is there already" },
        call: {
          method: "caseflow.audit.v1.AuditService/RecordEvents",
          caller,
          deadlineMs: 10_000,
          request: {
            events: [
              { $match: "given", name: "first", example: bytes },
              { $match: "given", name: "second", example: bytes },
            ],
          },
        },
        answer: {
          code: "OK",
          message: {
            outcomes: [
              { eventId: { ...givenId, name: "firstId" }, outcome: "DELIVERY_OUTCOME_DUPLICATE" },
              { eventId: { ...givenId, name: "secondId" }, outcome: "DELIVERY_OUTCOME_APPLIED" },
            ],
          },
        },
      },
    ],
    async (url) =>
      expect(await deliver(url, [pending, pending])).toEqual([{ kind: "duplicate" }, { kind: "applied" }]),
  ));

test("an event that is too large is refused, which is the event's fault", () =>
  contract.expect(
    [
      recordEvents(
        "an event of more than 60 KiB is refused as a request",
        { name: "an event that is too large" },
        { code: "INVALID_ARGUMENT", domain: "caseflow", reason: "INVALID_REQUEST" },
      ),
    ],
    async (url) => {
      await expect(deliver(url)).rejects.toHaveProperty("kind", "refused");
    },
  ));

test("a token without the role is refused, which says nothing of the event", () =>
  contract.expect(
    [
      {
        ...recordEvents(
          "a caller without the role is refused",
          { name: "an event that comes next" },
          { code: "PERMISSION_DENIED", domain: "caseflow", reason: "FORBIDDEN" },
        ),
        call: {
          ...recordEvents("", { name: "" }, { code: "NOT_FOUND" }).call,
          caller: { ...caller, roles: ["auditor"] },
        },
      },
    ],
    async (url) => {
      await expect(deliver(url)).rejects.toHaveProperty("kind", "unreachable");
    },
  ));

test("the contract on disk says what these tests expect", () => expectOnDisk(contract));
