import { createHash } from "node:crypto";
import { v7 } from "uuid";
import { builtInPolicy, type Case } from "#services/case/domain/case.ts";
import { attended, deliveryId } from "#services/case/application/delivery-subject.ts";
import { findAppliedRequest, saveAnswer } from "#services/case/store/answers.ts";
import { findChange, listChanges } from "#services/case/store/changes.ts";
import { findDeadLetter, findDeadLetters, listDeadLetters } from "#services/case/store/dead-letters.ts";
import { listEntryDigests } from "#services/case/store/entry-digests.ts";
import { countDeadLetters, countPending } from "#services/case/store/backlog.ts";
import { listExpiredAnswers, removeExpiredAnswers } from "#services/case/store/expired-answers.ts";
import { listCases, loadCase } from "#services/case/store/cases.ts";
import { listEntries } from "#services/case/store/history.ts";
import {
  beforeEveryEvent,
  buryEvent,
  nextPendingLane,
  nextPendingTenant,
  pendingEvents,
  removeDelivered,
} from "#services/case/store/outbox.ts";
import { loadPolicy, savePolicy, type NewPolicy } from "#services/case/store/policies.ts";
import { findEntries, saveRequeue } from "#services/case/store/requeue.ts";
import {
  redriveDeadLetters,
  skipDeadLetter,
  type DeliveryAct,
} from "#services/case/store/save-delivery-act.ts";
import { saveTransition, type NewTransition } from "#services/case/store/save-transition.ts";
import type { Attack } from "./attack-statements.ts";

/** What the victim has in the case database. */
export interface VictimsCase {
  readonly draft: Case;
  readonly principalId: string;
  readonly requestId: string;
  readonly eventId: string;
  /** Of a dead letter, behind one act on delivery. */
  readonly deadEventId: string;
  readonly lane: number;
  /** Of an event that was delivered. */
  readonly deliveredEventId: string;
}

export function caseAttacks({
  draft,
  principalId,
  requestId,
  eventId,
  deadEventId,
  lane,
  deliveredEventId,
}: VictimsCase): readonly Attack[] {
  const filter = {
    states: ["draft"],
    caseType: draft.type,
    assignedReviewerId: "",
    creatorId: draft.creatorId,
    externalReference: draft.externalReference,
    changedSince: new Date(0),
  } as const;
  const none = {
    ...filter,
    states: [],
    caseType: "",
    creatorId: "",
    externalReference: "",
    changedSince: undefined,
  };
  const pending = (tenantId: string) => ({
    ...{
      tenantId,
      eventId,
      caseId: draft.id,
      version: draft.version,
      traceparent: "",
      event: new Uint8Array(),
    },
  });
  const app = (name: string, make: Attack["make"]): Attack => ({ name, role: "case_app", make });
  const relay = (name: string, make: Attack["make"]): Attack => ({ name, role: "case_relay", make });
  return [
    app("loadCase", (tenantId) => loadCase(tenantId, draft.id)),
    app("listCases", (tenantId) => listCases(tenantId, none, undefined, 100, bytesMax)),
    app("listCases with each filter", (tenantId) => listCases(tenantId, filter, lastUuid, 100, bytesMax)),
    app("findAppliedRequest", (tenantId) => findAppliedRequest(tenantId, principalId, requestId, new Date())),
    app("listEntries", (tenantId) => listEntries(tenantId, draft.id, 0, 100)),
    app("listEntryDigests", (tenantId) => listEntryDigests(tenantId, undefined, firstEntry, 100)),
    app("listEntryDigests of a subject", (tenantId) => listEntryDigests(tenantId, draft.id, firstEntry, 100)),
    app("findChange", (tenantId) => findChange(tenantId, everything(draft.id), eventId)),
    app("listChanges", (tenantId) => listChanges(tenantId, everything(lastUuid), 100, bytesMax)),
    app("saveTransition", (tenantId) => saveTransition(updateOf(draft, tenantId, lane))),
    app("saveTransition of one who spoke before", (tenantId) =>
      saveTransition({ ...updateOf(draft, tenantId, lane), spokeBefore: true }),
    ),
    app("saveTransition of an erasure", (tenantId) => saveTransition(erasureOf(draft, tenantId, lane))),
    app("loadPolicy", (tenantId) => loadPolicy(tenantId, "permit")),
    app("savePolicy", (tenantId) => savePolicy(policyOf(tenantId, lane))),
    app("findEntries", (tenantId) => findEntries(tenantId, [eventId])),
    app("saveRequeue", (tenantId) => {
      const { requestId: newId, requestHash, answer, answerExpiresAt } = transitionOf(tenantId, lane);
      const request = { principalId, requestId: newId, requestHash, answer, answerExpiresAt };
      return saveRequeue({ tenantId, eventIds: [deliveredEventId], lane, ...request });
    }),
    app("saveAnswer", (tenantId) => {
      const { requestId: newId, requestHash, answer, answerExpiresAt } = transitionOf(tenantId, lane);
      return saveAnswer({ tenantId, principalId, requestId: newId, requestHash, answer, answerExpiresAt });
    }),
    app("listDeadLetters", (tenantId) =>
      listDeadLetters(tenantId, { caseId: undefined, eventId: undefined }, beforeEveryEvent, 100, bytesMax),
    ),
    app("findDeadLetters", (tenantId) => findDeadLetters(tenantId, [deadEventId], deliveryId)),
    app("findDeadLetter", (tenantId) => findDeadLetter(tenantId, deadEventId, deliveryId)),
    app("redriveDeadLetters", (tenantId) =>
      redriveDeadLetters({ ...actOf(tenantId, lane, "redrive"), deadEventIds: [deadEventId] }),
    ),
    app("skipDeadLetter", (tenantId) =>
      skipDeadLetter({
        ...actOf(tenantId, lane, "skip"),
        deadEventId,
        tombstoneEventId: v7(),
        tombstone: undefined, // With one, a foreign key would keep the tenants apart in any case.
      }),
    ),
    app("saveTransition of a new case", (tenantId) => saveTransition(creationOf(draft, tenantId, lane))),
    relay("nextPendingLane", () => nextPendingLane(lane - 1)),
    relay("nextPendingTenant", () => nextPendingTenant(lane, "")),
    relay("pendingEvents", (tenantId) => pendingEvents(lane, tenantId, beforeEveryEvent, 100, bytesMax)),
    relay("removeDelivered", (tenantId) => removeDelivered(tenantId, [eventId])),
    relay("listExpiredAnswers", () => listExpiredAnswers(new Date(), 100)),
    relay("removeExpiredAnswers", (tenantId) => {
      const answer = { tenantId, principalId, requestId };
      return removeExpiredAnswers(tenantId, [answer], new Date());
    }),
    relay("countPending", countPending),
    relay("countDeadLetters", countDeadLetters),
    relay("buryEvent", (tenantId) => buryEvent(pending(tenantId), "REASON", "detail", new Date())),
  ];
}

/** A place that every change is behind, and that is at a case's first version. */
const everything = (caseId: string) => ({ committedIn: "1", caseId, version: 1 });

const bytesMax = 1_000_000;
const firstEntry = { caseId: beforeEveryEvent, version: 0 };
const lastUuid = "ffffffff-ffff-ffff-ffff-ffffffffffff";

function updateOf(draft: Case, tenantId: string, lane: number): NewTransition {
  return {
    ...transitionOf(tenantId, lane),
    next: { ...draft, version: draft.version + 1 },
    action: "update",
  };
}

function erasureOf(draft: Case, tenantId: string, lane: number): NewTransition {
  return {
    ...transitionOf(tenantId, lane),
    next: { ...draft, version: draft.version + 1, erased: true, content: undefined },
    action: "erase",
  };
}

function policyOf(tenantId: string, lane: number): NewPolicy {
  return {
    ...transitionOf(tenantId, lane),
    action: "set_policy",
    fromState: undefined,
    caseType: "attacked",
    subjectId: v7(),
    policy: { ...builtInPolicy, version: 1 },
  };
}

/** The second act of its tenant. */
function actOf(tenantId: string, lane: number, action: "redrive" | "skip"): DeliveryAct {
  return {
    ...transitionOf(tenantId, lane),
    ...{ action, fromState: attended, actId: deliveryId, actVersion: 2 },
  };
}

function creationOf(draft: Case, tenantId: string, lane: number): NewTransition {
  return {
    ...transitionOf(tenantId, lane),
    next: { ...draft, id: v7() },
    action: "create",
    fromState: undefined,
  };
}

function transitionOf(tenantId: string, lane: number): Omit<NewTransition, "next" | "action"> {
  const event = Buffer.from("attack");
  return {
    tenantId,
    fromState: "draft",
    principalId: "mallory",
    onBehalfOf: undefined,
    spokeBefore: false,
    completes: undefined,
    requestId: v7(),
    requestHash: Buffer.alloc(32),
    answer: event,
    answerExpiresAt: new Date(),
    eventId: v7(),
    event,
    eventDigest: createHash("sha256").update(event).digest(),
    recordedAt: new Date(),
    lane,
    traceparent: "",
    content: undefined,
    approvalOf: undefined,
  };
}
