import { expect, test } from "vitest";
import { recordContract } from "#libs/contracts/record-contract.ts";
import type { ExpectedMessage } from "#libs/contracts/contract.ts";
import { file_caseflow_event_v1_event } from "#libs/gen/caseflow/event/v1/event_pb.ts";
import { readEvent } from "#services/audit/rpc/read-event.ts";

import { expectOnDisk } from "../support/expect-on-disk.ts";

/* The audit service calls nobody, but it reads each event before it keeps its bytes: what it judges and indexes has to be there. */
const contract = recordContract({
  consumer: "audit",
  provider: "case",
  files: [file_caseflow_event_v1_event],
});

const caseId = "01936f5e-8a30-7c4e-9f51-2a7d3b1c0e64";
const eventId = "01936f5e-8a30-7c4e-9f51-2a7d3b1c0e65";
const digest = { $match: "bytes", length: 32, example: Buffer.alloc(32, 1).toString("base64") } as const;

const always: ExpectedMessage = {
  eventId: {
    $match: "pattern",
    pattern: "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
    example: eventId,
  },
  source: "caseflow/case",
  schemaVersion: { $match: "atLeast", least: 1, example: 1 },
  tenantId: { $match: "given", name: "tenantId", example: "acme" },
  actor: {
    id: { $match: "present", example: "ada" },
    kind: {
      $match: "oneOf",
      values: ["ACTOR_KIND_PERSON", "ACTOR_KIND_SERVICE"],
      example: "ACTOR_KIND_PERSON",
    },
    onBehalfOf: { $match: "any", example: "grace" },
  },
  requestId: { $match: "uuid", example: "0b9c8a0e-6d52-4d0c-9d2e-2f3a4b5c6d7e" },
  correlationId: { $match: "any", example: "2026-0417" },
  traceparent: { $match: "any", example: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" },
  occurredAt: { $match: "present", example: "2026-11-20T09:30:00Z" },
  recordedAt: { $match: "present", example: "2026-11-20T09:30:00.250Z" },
};

test("a subject's first event has sequence 1 and follows nothing", () =>
  contract.expectEvent(
    {
      name: "a case's first event has sequence 1 and no digest of an event before it",
      state: { name: "a case", parameters: { state: "draft" } },
      message: "caseflow.event.v1.Event",
      which: {
        type: "caseflow.case.created",
        subject: { $match: "given", name: "caseId", example: caseId },
      },
      fields: { ...always, subjectSequence: "1", previousDigest: { $match: "absent" } },
    },
    (bytes) =>
      expect(readEvent(bytes)).toEqual({
        eventId,
        source: "caseflow/case",
        type: "caseflow.case.created",
        tenantId: "acme",
        subject: caseId,
        sequence: 1n,
        previousDigest: "",
        originalDigest: "",
        actorId: "ada",
        onBehalfOf: "grace",
        requestId: "0b9c8a0e-6d52-4d0c-9d2e-2f3a4b5c6d7e",
        correlationId: "2026-0417",
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        occurredAtMicros: 1_795_167_000_000_000n,
        recordedAtMicros: 1_795_167_000_250_000n,
      }),
  ));

test("a subject's later event names the digest of the one before it", () =>
  contract.expectEvent(
    {
      name: "a case's next event has the next sequence and the digest of the event before it",
      state: { name: "a case", parameters: { state: "submitted" } },
      message: "caseflow.event.v1.Event",
      which: {
        type: "caseflow.case.submitted",
        subject: { $match: "given", name: "caseId", example: caseId },
      },
      fields: { ...always, subjectSequence: "2", previousDigest: digest },
    },
    (bytes) => expect(readEvent(bytes)).toMatchObject({ sequence: 2n, previousDigest: "01".repeat(32) }),
  ));

test("the contract on disk says what these tests expect", () => expectOnDisk(contract));
