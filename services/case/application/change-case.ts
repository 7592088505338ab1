import { randomBytes } from "node:crypto";
import { Fault } from "#libs/fault/fault.ts";
import { v7 } from "uuid";
import type { Case, Content, Policy } from "../domain/case.ts";
import type { Circumstances, Command } from "../domain/command.ts";
import { decide } from "../domain/decide.ts";
import type { Accepted } from "../domain/decision.ts";
import type { Reason } from "../domain/reason.ts";
import { loadCase, toStoredCase, type StoredCase } from "../store/cases.ts";
import { encodeContent } from "../store/content-bytes.ts";
import { loadPolicy, toPolicy } from "../store/policies.ts";
import { saveTransition, type NewTransition } from "../store/save-transition.ts";
import {
  applyOnce,
  type Attempt,
  type WriteDependencies,
  type WriteRequest,
  type WriteResult,
} from "./apply-once.ts";
import { decisionHash } from "./decision-hash.ts";
import { sealEntry } from "./seal-entry.ts";
import { sha256 } from "./sha256.ts";

const saltBytes = 32;

export interface ChangeRequest extends WriteRequest {
  /** `undefined` for a creation. */
  readonly caseId: string | undefined;
  readonly expectedVersion: number | undefined;
  readonly command: Command;
  /** When it happened by another system's account; `undefined`: now. */
  readonly reportedAt: Date | undefined;
  /** The answer's bytes for the case after the change. */
  readonly encodeAnswer: (next: Case) => Uint8Array;
}

export type ChangeCase = (request: ChangeRequest) => Promise<WriteResult>;

/** The use case behind every write of a case. Faults: CASE_NOT_FOUND, any refusal of the rules, and those of `applyOnce`. */
export function createChangeCase(dependencies: WriteDependencies): ChangeCase {
  return (request) => {
    const { tenantId, caseId, command } = request;
    if (command.action === "create") {
      const load = loadPolicy(tenantId, command.caseType);
      return applyOnce(dependencies, request, load, ({ rows }, at) =>
        attempt(dependencies, request, undefined, toPolicy(rows[0]), at),
      );
    }
    if (caseId === undefined) throw new Error(`${command.action} names no case`);
    return applyOnce(dependencies, request, loadCase(tenantId, caseId), ({ rows }, at) => {
      if (rows.length === 0) throw new Fault<Reason>("CASE_NOT_FOUND", { case_id: caseId });
      return attempt(dependencies, request, toStoredCase(rows[0]), undefined, at);
    });
  };
}

/** Asks the rules, and makes every byte that the transition will consist of. */
function attempt(
  dependencies: WriteDependencies,
  request: ChangeRequest,
  current: StoredCase | undefined,
  policy: Policy | undefined,
  at: Date,
): Attempt {
  const { tenantId, actor, command } = request;
  const salt = randomBytes(saltBytes);
  const by: Circumstances = {
    personId: actor.onBehalfOf || actor.id,
    at,
    reportedAt: request.reportedAt,
    newCaseId: v7({ msecs: at.getTime() }),
    policy,
    commitTo: (content) => sha256(salt, encodeContent(content)),
  };
  const decision = decide(current?.case, command, request.expectedVersion, by);
  if (!decision.accepted) {
    dependencies.metrics.refused(current?.case.state);
    throw new Fault<Reason>(decision.reason, decision.metadata, { fields: fieldsOf(decision.metadata) });
  }
  const { next } = decision;
  const decided = decisionHashOf(tenantId, decision);
  const latest = current && { id: current.latestEventId, digest: current.latestDigest };
  const answer = request.encodeAnswer(next);
  const facts = {
    type: `caseflow.case.${decision.happened}`,
    subject: next.id,
    subjectType: next.type,
    sequence: next.version,
    fromState: current?.case.state,
    toState: next.state,
    reason: decision.reason,
    legalAuthority: decision.legalAuthority,
    assigneeId: decision.assigneeId,
    decisionHash: decided,
    contentCommitment: next.contentCommitment,
    reviewRound: next.reviewRound,
    policyVersion: next.policyVersion,
    approvalsRequired: decided === undefined ? 0 : next.approvalsRequired,
    appealWindowDays: 0,
    occurredAt: decision.occurredAt,
  };
  const { action } = command;
  const { spokeBefore, completes } = decision;
  const transition: NewTransition = {
    ...sealEntry(dependencies, request, at, latest, facts, { action, spokeBefore, completes, answer }),
    action,
    next,
    content: newContent(current?.case.contentVersion, next, salt),
    approvalOf: action === "approve" && decided ? { decisionHash: decided } : undefined,
  };
  return {
    statement: saveTransition(transition),
    answer,
    entry: { action, transition: { from: current?.case.state, to: next.state } },
    fromVersion: current?.case.version ?? 0,
  };
}

function decisionHashOf(tenantId: string, { next, decidesReviewAt }: Accepted): Uint8Array | undefined {
  if (decidesReviewAt === undefined) return undefined;
  return decisionHash(tenantId, next.id, decidesReviewAt, next.contentCommitment);
}

function newContent(
  versionBefore: number | undefined,
  next: { readonly contentVersion: number; readonly content: Content | undefined },
  salt: Uint8Array,
): NewTransition["content"] {
  if (next.contentVersion === versionBefore || next.content === undefined) return undefined;
  return { salt, bytes: encodeContent(next.content) };
}

/** The fields of the request that a refusal names. */
function fieldsOf(metadata: Readonly<Record<string, string>>): { field: string; description: string }[] {
  const { missing, field, description = "" } = metadata;
  if (field !== undefined) return [{ field, description }];
  if (missing === undefined) return [];
  return missing.split(",").map((name) => ({
    field: `content.${name}`,
    description: "must be filled in before the case is submitted",
  }));
}
